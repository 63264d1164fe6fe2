//! What every operation means, the same for all back ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::{Condition, KeyValue, MAX_KEY, MAX_VALUE, OPERATIONS, Operation, StoreError, Swapped};
#[cfg(any(feature = "nats", feature = "redis"))]
use super::servers::{self, ServerProcess};
use super::{QUOTA, edges, entries, open};

/// Tasks that contend for one key, and what each of them does. Files and servers are given a part of it, unless
/// `PORTCULLIS_STORE_SUITE` is `full`.
const TASKS: usize = 64;
const ROUNDS: usize = 1000;

/// The rounds of a back end that does a part of them in a quick run.
fn part(divisor: usize) -> usize {
    if is_full() { ROUNDS } else { ROUNDS / divisor }
}

fn is_full() -> bool {
    std::env::var("PORTCULLIS_STORE_SUITE").is_ok_and(|word| word == "full")
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_to_the_semantics() {
    let store = open("memory:").await;

    everything(store.clone(), store, ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redb_keeps_to_the_semantics() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("redb:{}", dir.path().join("store.redb").display());

    let store = open(&url).await;
    everything(store.clone(), store, part(20)).await;

    // Two daemons have the file open during an upgrade.
    let again = format!("redb:{}", dir.path().join("shared.redb").display());
    everything(open(&again).await, open(&again).await, part(100)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(feature = "redis")]
async fn redis_keeps_to_the_semantics() {
    let Some(server) = servers::redis() else { return };
    everything(open(&server.url).await, open(&server.url).await, part(20)).await;
    outage(server).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(feature = "nats")]
async fn nats_keeps_to_the_semantics() {
    let Some(server) = servers::nats() else { return };
    everything(open(&server.url).await, open(&server.url).await, part(20)).await;
    outage(server).await;
}

/// Runs the suite over two handles of one store, as two daemons have them.
async fn everything(one: Arc<KeyValue>, two: Arc<KeyValue>, rounds: usize) {
    edges::edges(&one, &two).await;
    values(&one, &two).await;
    conditions(&one, &two).await;
    numbers(&one, &two).await;
    expiry(&one, &two).await;
    listing(&one, &two).await;
    batches(&one, &two).await;
    entries::listing(&one, &two).await;
    bounds(&one).await;
    quota(&one).await;
    creation(&one, &two).await;
    increments(&one, &two, rounds).await;
    swaps(&one, &two, if is_full() { rounds } else { rounds / 10 + 1 }).await;
    // Requests are counted in Redis alone: see `rates`.
    for (operation, name) in OPERATIONS.into_iter().filter(|(operation, _)| *operation != Operation::Rate) {
        assert!(one.counts(operation).ended()[0].1 > 0, "{name}");
    }
}

async fn set(store: &KeyValue, key: &str, value: &str) -> u64 {
    let value = Bytes::copy_from_slice(value.as_bytes());
    match store.set(key, value, None, Condition::Always).await.unwrap() {
        Swapped::Written(version) => version,
        stale @ Swapped::Stale(_) => panic!("{stale:?}"),
    }
}

async fn text(store: &KeyValue, key: &str) -> Option<String> {
    let value = store.get(key).await.unwrap()?.value;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

async fn values(one: &KeyValue, two: &KeyValue) {
    for key in ["a", "a/b c", "ключ", "*.>", "x..y", "/", "//", "=2f", "\n\0"] {
        assert_eq!(text(one, key).await, None, "{key:?}");
        set(one, key, key).await;
        assert_eq!(text(two, key).await.as_deref(), Some(key));
        set(two, key, "").await;
        assert_eq!(text(one, key).await.as_deref(), Some(""), "{key:?}");
        assert!(one.delete(key).await.unwrap(), "{key:?}");
        assert!(!two.delete(key).await.unwrap(), "{key:?}");
        assert_eq!(one.get(key).await.unwrap(), None, "{key:?}");
    }
}

async fn conditions(one: &KeyValue, two: &KeyValue) {
    let swap = |value: &'static str, condition| {
        one.set("swapped", Bytes::from_static(value.as_bytes()), None, condition)
    };
    assert!(matches!(swap("1", Condition::Version(7)).await.unwrap(), Swapped::Stale(None)));
    let Swapped::Written(first) = swap("1", Condition::Absent).await.unwrap() else { panic!() };
    let Swapped::Stale(Some(current)) = swap("2", Condition::Absent).await.unwrap() else { panic!() };
    assert_eq!((&*current.value, current.version), (&b"1"[..], first));
    assert_eq!(two.get("swapped").await.unwrap(), Some(current));
    // The same value again is another version: a swap fails although the value looks unchanged.
    let second = set(two, "swapped", "1").await;
    let Swapped::Stale(Some(current)) = swap("2", Condition::Version(first)).await.unwrap() else { panic!() };
    assert_eq!(current.version, second);
    let Swapped::Written(third) = swap("3", Condition::Version(second)).await.unwrap() else { panic!() };
    // So is a value that was deleted and made again.
    one.delete("swapped").await.unwrap();
    assert!(matches!(swap("4", Condition::Version(third)).await.unwrap(), Swapped::Stale(None)));
    let fourth = set(one, "swapped", "3").await;
    assert!(![first, second, third].contains(&fourth));
    assert!(matches!(swap("4", Condition::Version(third)).await.unwrap(), Swapped::Stale(Some(_))));
    assert!(one.delete("swapped").await.unwrap());
    assert!(matches!(swap("5", Condition::Absent).await.unwrap(), Swapped::Written(_)));
    one.delete("swapped").await.unwrap();
}

async fn numbers(one: &KeyValue, two: &KeyValue) {
    assert_eq!(one.increment("n", 2).await.unwrap(), 2);
    assert_eq!(text(two, "n").await.as_deref(), Some("2"));
    set(two, "n", "40").await;
    assert_eq!(one.increment("n", 2).await.unwrap(), 42);
    assert_eq!(one.increment("n", -50).await.unwrap(), -8);
    for wrong in ["", "x", "007", "1.5", " 1", "9223372036854775808", "8 "] {
        set(one, "n", wrong).await;
        assert_eq!(two.increment("n", 1).await, Err(StoreError::NotANumber), "{wrong:?}");
        assert_eq!(text(one, "n").await.as_deref(), Some(wrong));
    }
    set(one, "n", &i64::MAX.to_string()).await;
    assert_eq!(one.increment("n", 1).await, Err(StoreError::Overflow));
    assert_eq!(one.increment("n", -1).await.unwrap(), i64::MAX - 1);
    set(one, "n", &i64::MIN.to_string()).await;
    assert_eq!(one.increment("n", -1).await, Err(StoreError::Overflow));
    assert_eq!(text(one, "n").await, Some(i64::MIN.to_string()));
    let version = set(one, "n", "1").await;
    one.increment("n", 0).await.unwrap();
    assert_ne!(one.get("n").await.unwrap().unwrap().version, version, "an increment is a write");
    one.delete("n").await.unwrap();
}

async fn expiry(one: &KeyValue, two: &KeyValue) {
    let short = Some(Duration::from_millis(400));
    let number = Bytes::from_static(b"5");
    one.set("t", number.clone(), short, Condition::Always).await.unwrap();
    one.set("t/forever", number.clone(), short, Condition::Always).await.unwrap();
    let swapped = two.set("t/swap", number.clone(), short, Condition::Absent).await.unwrap();
    let Swapped::Written(version) = swapped else { panic!("{swapped:?}") };
    // A number keeps its time to live; a value that is set without one loses it. On a busy machine, the number may have
    // expired before it is incremented.
    for milliseconds in [400, 1000, 3000, 9000] {
        let brief = Some(Duration::from_millis(milliseconds));
        one.set("t/kept", number.clone(), brief, Condition::Always).await.unwrap();
        let sum = two.increment("t/kept", 1).await.unwrap();
        assert!(sum == 6 || sum == 1 && milliseconds < 9000, "{sum}");
        if sum == 6 {
            break;
        }
    }
    set(two, "t/forever", "6").await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while one.get("t/swap").await.unwrap().is_some() || one.get("t/kept").await.unwrap().is_some() {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    assert_eq!(two.get("t").await.unwrap(), None);
    assert_eq!(text(one, "t/forever").await.as_deref(), Some("6"));
    assert_eq!(two.list("t", None, 10).await.unwrap().keys, ["t/forever"]);
    let stale = one.set("t/swap", Bytes::new(), None, Condition::Version(version)).await.unwrap();
    assert_eq!(stale, Swapped::Stale(None));
    assert!(!one.delete("t").await.unwrap(), "it had expired");
    assert_eq!(two.increment("t/kept", 1).await.unwrap(), 1, "it starts again");
    let again = one.set("t/swap", Bytes::new(), None, Condition::Absent).await.unwrap();
    assert!(matches!(again, Swapped::Written(_)));
    one.delete_many(["t/kept", "t/forever", "t/swap"].map(str::to_owned).to_vec()).await.unwrap();
}

async fn listing(one: &KeyValue, two: &KeyValue) {
    let wanted = ["l/", "l/.", "l/1", "l/1/2", "l/10", "l/é"];
    for key in ["l", "l0", "k", "m"].iter().chain(wanted.iter().rev()) {
        set(one, key, "x").await;
    }
    let mut keys = Vec::new();
    let mut cursor = None;
    loop {
        let page = two.list("l/", cursor.as_deref(), 2).await.unwrap();
        assert!(page.keys.len() <= 2);
        keys.extend(page.keys);
        // Deleting what was listed does not disturb what follows.
        two.delete(&keys[0]).await.unwrap();
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(keys, wanted);
    assert_eq!(one.list("l/1", None, 10).await.unwrap().keys, ["l/1", "l/1/2", "l/10"]);
    assert_eq!(one.list("none", None, 10).await.unwrap(), super::super::KeyPage::default());
    assert_eq!(one.list("", None, 3).await.unwrap().keys, ["k", "l", "l/."]);
    let all = one.list("", None, 100).await.unwrap().keys;
    one.delete_many(all).await.unwrap();
    assert!(two.list("", None, 100).await.unwrap().keys.is_empty());
}

async fn batches(one: &KeyValue, two: &KeyValue) {
    let entries = |value: &'static str| {
        let entry = |key: &str| (key.to_owned(), Bytes::from_static(value.as_bytes()));
        ["b/2", "b/1", "b/2"].map(entry).to_vec()
    };
    one.set_many(entries("x")).await.unwrap();
    let keys = ["b/1", "b/none", "b/2", "b/1"].map(str::to_owned);
    let values = two.get_many(&keys).await.unwrap();
    let found: Vec<bool> = values.iter().map(Option::is_some).collect();
    assert_eq!(found, [true, false, true, true]);
    assert_eq!(values[0], one.get("b/1").await.unwrap());
    two.delete_many(keys.to_vec()).await.unwrap();
    assert!(one.list("b/", None, 10).await.unwrap().keys.is_empty());
}

async fn bounds(one: &KeyValue) {
    let longest = "é".repeat(MAX_KEY / 2);
    set(one, &longest, "x").await;
    assert_eq!(one.list("é", None, 1).await.unwrap().keys, [longest.as_str()]);
    assert!(one.delete(&longest).await.unwrap());
    for key in ["", &"k".repeat(MAX_KEY + 1)] {
        assert_eq!(one.get(key).await.unwrap_err().code(), "invalid");
        assert_eq!(one.increment(key, 1).await.unwrap_err().code(), "invalid");
    }
    let largest = Bytes::from(vec![7; MAX_VALUE]);
    one.set("largest", largest.clone(), None, Condition::Always).await.unwrap();
    assert_eq!(one.get("largest").await.unwrap().unwrap().value, largest);
    one.delete("largest").await.unwrap();
    let larger = Bytes::from(vec![7; MAX_VALUE + 1]);
    assert_eq!(one.set("larger", larger, None, Condition::Always).await.unwrap_err().code(), "invalid");
    let many = (0..300).map(|number| number.to_string()).collect();
    assert_eq!(one.delete_many(many).await.unwrap_err().code(), "invalid");
}

async fn quota(one: &KeyValue) {
    let piece = Bytes::from(vec![0; 900_000]);
    let mut kept = 0;
    let error = loop {
        match one.set(&format!("q/{kept}"), piece.clone(), None, Condition::Always).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 100);
    };
    assert_eq!(error, StoreError::QuotaExceeded { quota: QUOTA });
    assert!((7..=9).contains(&kept), "{kept}");
    // A value may be replaced, and deleting makes room.
    one.set("q/0", piece.clone(), None, Condition::Always).await.unwrap();
    let batch = vec![("q/x".to_owned(), piece.clone()), ("q/y".to_owned(), piece.clone())];
    assert_eq!(one.set_many(batch).await.unwrap_err().code(), "quota_exceeded");
    assert!(one.delete("q/0").await.unwrap());
    one.set("q/0", piece, None, Condition::Always).await.unwrap();
    one.delete_many((0..kept).map(|number| format!("q/{number}")).collect()).await.unwrap();
    one.delete_many(vec!["q/x".to_owned()]).await.unwrap();
}

/// Many create the same key at once: one of them succeeds.
async fn creation(one: &Arc<KeyValue>, two: &Arc<KeyValue>) {
    for round in 0..20 {
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let store = if task % 2 == 0 { one.clone() } else { two.clone() };
            let key = format!("created/{round}");
            let value = Bytes::from(task.to_string());
            tasks.spawn(async move {
                let outcome = store.set(&key, value.clone(), None, Condition::Absent).await.unwrap();
                (value, outcome)
            });
        }
        let outcomes = tasks.join_all().await;
        let winners: Vec<_> =
            outcomes.iter().filter(|(_, outcome)| matches!(outcome, Swapped::Written(_))).collect();
        assert_eq!(winners.len(), 1, "round {round}");
        let current = one.get(&format!("created/{round}")).await.unwrap().unwrap();
        assert_eq!(current.value, winners[0].0);
        for (_, outcome) in &outcomes {
            assert!(!matches!(outcome, Swapped::Stale(now) if now.as_ref() != Some(&current)), "{outcome:?}");
        }
        if round % 2 == 0 {
            one.delete(&format!("created/{round}")).await.unwrap();
        }
    }
}

/// Many increment the same key at once: every one counts.
async fn increments(one: &Arc<KeyValue>, two: &Arc<KeyValue>, rounds: usize) {
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = if task % 2 == 0 { one.clone() } else { two.clone() };
        tasks.spawn(async move {
            for _ in 0..rounds {
                store.increment("incremented", 1).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let wanted = (TASKS * rounds).to_string();
    assert_eq!(text(two, "incremented").await, Some(wanted));
    one.delete("incremented").await.unwrap();
}

/// Many swap the same key at once: a swap that is reported as written is never lost.
async fn swaps(one: &Arc<KeyValue>, two: &Arc<KeyValue>, rounds: usize) {
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = if task % 2 == 0 { one.clone() } else { two.clone() };
        tasks.spawn(async move {
            let mut current = store.get("contended").await.unwrap();
            let mut written = 0;
            while written < rounds {
                let (condition, number) = match &current {
                    None => (Condition::Absent, 0),
                    Some(now) => {
                        (Condition::Version(now.version), super::super::value::decimal(&now.value).unwrap())
                    }
                };
                let next = Bytes::from((number + 1).to_string());
                current = match store.set("contended", next.clone(), None, condition).await.unwrap() {
                    Swapped::Written(version) => {
                        written += 1;
                        Some(super::super::Versioned { value: next, version, expires_ms: None })
                    }
                    Swapped::Stale(now) => now,
                };
            }
        });
    }
    tasks.join_all().await;
    let wanted = (TASKS * rounds).to_string();
    assert_eq!(text(one, "contended").await, Some(wanted));
    one.delete("contended").await.unwrap();
}

/// The server goes and comes back: errors meanwhile, then all is well, and what was acknowledged is there.
#[cfg(any(feature = "nats", feature = "redis"))]
async fn outage(mut server: ServerProcess) {
    let store = open(&server.url).await;
    set(&store, "before", "kept").await;
    server.stop();
    let error = store.get("before").await.unwrap_err();
    assert!(error.is_outage(), "{error:?}");
    let error = store.set("during", Bytes::new(), None, Condition::Always).await.unwrap_err();
    assert!(error.is_outage(), "{error:?}");
    server.start();
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = store.get("before").await {
        assert!(Instant::now() < deadline, "{error}");
    }
    assert_eq!(text(&store, "before").await.as_deref(), Some("kept"));
    set(&store, "after", "x").await;
}
