//! Edges of every operation, the same for all back ends: a part of the suite.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

#[cfg(feature = "nats")]
use super::super::key_value::Backend;
use super::super::{Condition, KeyPage, KeyValue, MAX_BATCH, MAX_TTL, StoreError, Swapped, Versioned};
use super::entries;

/// The time to live of entries that outlive the test.
const LONG: Option<Duration> = Some(Duration::from_secs(3600));

/// Runs all of them on an empty store, and leaves it empty.
pub(super) async fn edges(one: &KeyValue, two: &KeyValue) {
    prefixes(one, two).await;
    cursors(one, two).await;
    lives(one, two).await;
    versions(one, two).await;
    sums(one, two).await;
    batches(one, two).await;
    let left = two.list("", None, 10).await.unwrap();
    assert_eq!(left, KeyPage::default());
    // A NATS server counts what it stores itself.
    #[cfg(feature = "nats")]
    if matches!(one.backend(), Backend::Nats(_)) {
        return;
    }
    assert_eq!(two.used().await.unwrap(), 0, "what is gone counts nothing");
}

async fn set(store: &KeyValue, key: &str, value: &str, ttl: Option<Duration>) -> u64 {
    let value = Bytes::copy_from_slice(value.as_bytes());
    match store.set(key, value, ttl, Condition::Always).await.unwrap() {
        Swapped::Written(version) => version,
        stale @ Swapped::Stale(_) => panic!("{stale:?}"),
    }
}

async fn current(store: &KeyValue, key: &str) -> Versioned {
    store.get(key).await.unwrap().unwrap_or_else(|| panic!("{key} has no value"))
}

/// Waits until an entry has expired.
async fn gone(store: &KeyValue, key: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.get(key).await.unwrap().is_some() {
        assert!(Instant::now() < deadline, "{key} is still there");
        tokio::task::yield_now().await;
    }
}

/// Characters that have a meaning for a server, in a range of Redis or a subject of NATS.
async fn prefixes(one: &KeyValue, two: &KeyValue) {
    let mut keys = [
        "*",
        "*a",
        "**",
        ".",
        "..",
        ">",
        ">.",
        "?",
        "[",
        "[a]",
        "[[",
        "\\",
        "(",
        "(a",
        "+",
        "-",
        "=",
        "=2A",
        "a.b",
        "a*b",
        "a",
        "a/",
        "a/*",
        "a/>",
        "/",
        "//",
        "/a",
        "$KV",
        " ",
        "é",
        "\u{10ffff}",
    ];
    keys.sort_unstable();
    for key in keys {
        set(one, key, key, None).await;
    }

    let all = two.list("", None, 100).await.unwrap();
    assert_eq!((all.keys.as_slice(), all.cursor), (&keys.map(str::to_owned)[..], None));
    for prefix in
        ["*", ".", ">", "?", "[", "[a", "\\", "(", "+", "-", "=", "a.", "a*", "a/", "/", "//", "\u{10ffff}"]
    {
        let wanted: Vec<&str> = keys.into_iter().filter(|key| key.starts_with(prefix)).collect();
        assert_eq!(two.list(prefix, None, 100).await.unwrap().keys, wanted, "{prefix:?}");
        let mut dumped: Vec<String> =
            entries::all(one, prefix).await.into_iter().map(|entry| entry.key).collect();
        dumped.sort_unstable();
        assert_eq!(dumped, wanted, "{prefix:?}");
    }
    one.delete_many(all.keys).await.unwrap();
}

/// A cursor is a place between keys: it need not be a key, and keys may come and go behind it.
async fn cursors(one: &KeyValue, two: &KeyValue) {
    for number in 1..=5 {
        set(one, &format!("c/{number}"), "x", None).await;
    }
    let page = async |cursor: Option<&str>, limit: usize| {
        let KeyPage { keys, cursor } = two.list("c/", cursor, limit).await.unwrap();
        (keys.concat(), cursor)
    };

    assert_eq!(page(None, 2).await, ("c/1c/2".to_owned(), Some("c/2".to_owned())));
    set(two, "c/0", "before the cursor", None).await;
    set(two, "c/2a", "behind it", None).await;
    one.delete("c/3").await.unwrap();
    assert_eq!(page(Some("c/2"), 2).await, ("c/2ac/4".to_owned(), Some("c/4".to_owned())));
    assert_eq!(page(Some("c/4"), 1).await, ("c/5".to_owned(), None), "nothing follows a full page");
    for (cursor, wanted) in [("a", "c/0"), ("c/", "c/0"), ("c/3", "c/4"), ("c/5", ""), ("d", ""), ("c0", "")]
    {
        assert_eq!(page(Some(cursor), 1).await.0, wanted, "{cursor}");
    }
    assert_eq!(page(None, 0).await.0, "c/0", "a page has one key at least");
    let keys = one.list("c/", None, usize::MAX).await.unwrap().keys;
    one.delete_many(keys).await.unwrap();
}

/// Which writes begin, keep and end a time to live, and its bounds.
async fn lives(one: &KeyValue, two: &KeyValue) {
    let x = || Bytes::from_static(b"x");
    set(one, "t/none", "x", Some(Duration::ZERO)).await;
    set(one, "t/number", "41", Some(Duration::from_millis(1))).await;
    gone(two, "t/none").await;
    gone(two, "t/number").await;
    assert_eq!(two.increment("t/number", 1).await.unwrap(), 1, "it begins anew");
    assert_eq!(current(one, "t/number").await.expires_ms, None, "and without the time that is over");
    let beyond = Some(MAX_TTL + Duration::from_millis(1));
    let refused = one.set("t/none", x(), beyond, Condition::Always).await.unwrap_err();
    assert_eq!((refused.code(), one.get("t/none").await), ("invalid", Ok(None)));
    set(one, "t/none", "x", Some(MAX_TTL)).await;
    let expires = current(two, "t/none").await.expires_ms.unwrap();
    let left = Duration::from_millis(expires - super::super::rows::now());
    assert!(left <= MAX_TTL && left > MAX_TTL - Duration::from_secs(60), "{left:?}");

    let first = set(one, "t/swap", "x", LONG).await;
    let expires = current(two, "t/swap").await.expires_ms;
    assert!(expires.is_some());
    let Swapped::Stale(Some(kept)) = two.set("t/swap", x(), None, Condition::Absent).await.unwrap() else {
        panic!("it is there")
    };
    assert_eq!((kept.version, kept.expires_ms), (first, expires), "a swap that lost changes nothing");
    two.set("t/swap", x(), None, Condition::Version(first)).await.unwrap();
    let second = current(one, "t/swap").await;
    assert_eq!(second.expires_ms, None, "a swap ends it");
    two.set("t/swap", x(), LONG, Condition::Version(second.version)).await.unwrap();
    assert!(current(one, "t/swap").await.expires_ms.is_some(), "or begins one");
    one.set_many(vec![("t/swap".to_owned(), x())]).await.unwrap();
    assert_eq!(current(two, "t/swap").await.expires_ms, None, "a batch ends it too");
    one.delete_many(["t/none", "t/number", "t/swap"].map(str::to_owned).to_vec()).await.unwrap();
}

/// A version that no entry has is never the current one.
async fn versions(one: &KeyValue, two: &KeyValue) {
    let version = set(one, "v", "x", None).await;
    for wrong in [0, version + 1, version.saturating_sub(1), u64::MAX, 1 << 53, (1 << 53) + 1] {
        let outcome = two.set("v", Bytes::new(), None, Condition::Version(wrong)).await.unwrap();
        assert!(matches!(outcome, Swapped::Stale(Some(now)) if now.version == version), "{wrong}");
        let outcome = two.set("v/none", Bytes::new(), None, Condition::Version(wrong)).await.unwrap();
        assert_eq!(outcome, Swapped::Stale(None), "{wrong}");
    }
    assert!(one.delete("v").await.unwrap());
}

/// The ends of 64 bits, from both sides.
async fn sums(one: &KeyValue, two: &KeyValue) {
    assert_eq!(one.increment("s", i64::MIN).await, Ok(i64::MIN));
    assert_eq!(two.increment("s", i64::MIN).await, Err(StoreError::Overflow));
    assert_eq!(two.increment("s", i64::MAX).await, Ok(-1));
    assert_eq!(one.increment("s", i64::MIN).await, Err(StoreError::Overflow));
    assert_eq!(one.increment("s", i64::MAX).await, Ok(i64::MAX - 1));
    for wrong in [&b"\xff"[..], b"-0", b"1\n", b"1\0", b"0x1", b"1e3", b"-9223372036854775809"] {
        one.set("s", Bytes::from_static(wrong), LONG, Condition::Always).await.unwrap();
        let before = current(one, "s").await;
        assert_eq!(two.increment("s", 1).await, Err(StoreError::NotANumber), "{wrong:?}");
        assert_eq!(current(two, "s").await, before, "{wrong:?}");
    }
    assert!(two.delete("s").await.unwrap());
}

/// Batches that are empty, that have the most keys or one key more, that name a key twice, and that have an invalid key.
async fn batches(one: &KeyValue, two: &KeyValue) {
    one.set_many(Vec::new()).await.unwrap();
    one.delete_many(Vec::new()).await.unwrap();
    assert_eq!(one.get_many(&[]).await.unwrap(), Vec::new());

    let entry = |key: &str, value: &'static [u8]| (key.to_owned(), Bytes::from_static(value));
    let twice = vec![entry("b/1", b"first"), entry("b/2", b""), entry("b/1", b"last\0\xff")];
    one.set_many(twice).await.unwrap();
    assert_eq!(&*current(two, "b/1").await.value, b"last\0\xff");
    assert_eq!(&*current(two, "b/2").await.value, b"");
    for wrong in [String::new(), "k".repeat(513)] {
        let batch = vec![entry("b/3", b"x"), (wrong.clone(), Bytes::new())];
        assert_eq!(one.set_many(batch).await.unwrap_err().code(), "invalid");
        assert_eq!(one.get_many(&["b/1".to_owned(), wrong.clone()]).await.unwrap_err().code(), "invalid");
        assert_eq!(one.delete_many(vec!["b/1".to_owned(), wrong]).await.unwrap_err().code(), "invalid");
    }
    assert_eq!(two.get("b/3").await, Ok(None), "nothing of a refused batch is done");
    assert!(two.get("b/1").await.unwrap().is_some());
    one.delete_many(["b/1", "b/2", "b/2", "b/none"].map(str::to_owned).to_vec()).await.unwrap();

    let keys: Vec<String> = (0..=MAX_BATCH).map(|number| format!("b/{number}")).collect();
    let batch = |keys: &[String]| -> Vec<(String, Bytes)> {
        keys.iter().map(|key| (key.clone(), Bytes::from_static(b"x"))).collect()
    };
    assert_eq!(one.set_many(batch(&keys)).await.unwrap_err().code(), "invalid");
    assert_eq!(one.get_many(&keys).await.unwrap_err().code(), "invalid");
    let most = &keys[..MAX_BATCH];
    one.set_many(batch(most)).await.unwrap();
    assert!(two.get_many(most).await.unwrap().iter().all(Option::is_some));
    two.delete_many(most.to_vec()).await.unwrap();
    assert!(one.get_many(most).await.unwrap().iter().all(Option::is_none));
}
