//! Bounds of what one operation holds in memory or passes over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::{Condition, KeyValue, MAX_VALUE, StoreError, StoreWork};
use super::open;
#[cfg(feature = "nats")]
use super::options;
#[cfg(any(feature = "nats", feature = "redis"))]
use super::servers;

/// Stores more values than one batch may return, and asks for all of them at once.
async fn too_many_read(store: &KeyValue) {
    let value = Bytes::from(vec![0; MAX_VALUE]);
    store.set("v/0", value, None, Condition::Always).await.unwrap();

    let keys = vec!["v/0".to_owned(); 9];
    let error = store.get_many(&keys).await.unwrap_err();
    assert!(matches!(error, StoreError::Invalid(_)), "{error:?}");
    assert_eq!(store.get_many(&keys[..8]).await.unwrap().iter().flatten().count(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_returns_a_bounded_number_of_bytes() {
    too_many_read(&*open("memory:").await).await;
    let dir = tempfile::tempdir().unwrap();
    too_many_read(&*open(&format!("redb:{}", dir.path().join("a.redb").display())).await).await;
    #[cfg(feature = "redis")]
    if let Some(server) = servers::redis() {
        too_many_read(&*open(&server.url).await).await;
    }
    #[cfg(feature = "nats")]
    if let Some(server) = servers::nats() {
        too_many_read(&*open(&server.url).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_on_a_file_is_charged_to_who_asked_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&format!("redb:{}", dir.path().join("a.redb").display())).await;
    let (ours, other) = (Arc::<StoreWork>::default(), Arc::<StoreWork>::default());

    let value = Bytes::from_static(b"v");
    ours.pay(store.set("a", value, None, Condition::Always)).await.unwrap();
    let wrote = (ours.take_reads(), ours.take_commits());
    ours.pay(store.list("", None, 10)).await.unwrap();
    other.pay(store.get_many(&["a".to_owned()])).await.unwrap();

    assert!(wrote.0.is_zero() && !wrote.1.is_zero(), "{wrote:?}");
    assert!(!ours.take_reads().is_zero() && ours.take_commits().is_zero());
    assert!(!other.take_reads().is_zero());
    assert!(!store.waited().is_zero(), "the write has waited for its commit to begin");
}

/// Lists behind more expired rows than one page passes over.
async fn pages_over_expired(store: &KeyValue) {
    let short = Some(Duration::from_millis(1));
    let numbers: Vec<usize> = (0..10_500).collect();
    for some in numbers.chunks(500) {
        let sets = some.iter().map(async |number| {
            store.set(&format!("e/{number:05}"), Bytes::new(), short, Condition::Always).await.unwrap();
        });
        futures_util::future::join_all(sets).await;
    }
    let last = store.set("f", Bytes::new(), None, Condition::Always).await;
    last.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.get("e/10499").await.unwrap().is_some() {
        assert!(Instant::now() < deadline, "it does not expire");
        tokio::task::yield_now().await;
    }

    let mut pages = 0;
    let mut keys = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.list("", cursor.as_deref(), 10).await.unwrap();
        pages += 1;
        keys.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(keys, ["f"]);
    assert!(pages <= 2, "{pages}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_passes_over_a_bounded_number_of_rows() {
    pages_over_expired(&*open("memory:").await).await;

    let mut builder = super::super::rows::PageBuilder::new("", 10, 100);
    let passed = (0..20_000).take_while(|number| builder.add(&format!("{number:05}"), 1)).count();
    assert_eq!((passed, builder.page.cursor.as_deref()), (9_999, Some("09999")));
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(feature = "nats")]
async fn a_full_bucket_refuses_and_keeps_what_was_acknowledged() {
    let Some(server) = servers::nats() else { return };
    let options = super::StoreOptions { quota: 64 << 10, ..options(&server.url) };
    let store = Arc::new(KeyValue::open(&options).await.unwrap());
    let mut kept = Vec::new();
    let error = loop {
        let key = format!("k{:05}", kept.len());
        match store.set(&key, Bytes::from_static(b"x"), None, Condition::Absent).await {
            Ok(_) => kept.push(key),
            Err(error) => break error,
        }
        assert!(kept.len() < 4000);
    };
    assert_eq!(error, StoreError::QuotaExceeded { quota: 64 << 10 });
    assert!(kept.len() > 200, "{}", kept.len());

    // A start with a lower quota takes nothing away, nor does a value of the same size.
    let lower = super::StoreOptions { quota: 32 << 10, ..options.clone() };
    let lower = KeyValue::open(&lower).await.unwrap();
    lower.set(&kept[0], Bytes::from_static(b"y"), None, Condition::Always).await.unwrap();
    let listed = store.list("", None, 1000).await.unwrap().keys;
    assert_eq!(listed, kept);

    // A full store can be emptied.
    for some in kept.chunks(256) {
        lower.delete_many(some.to_vec()).await.unwrap();
    }
    assert!(store.list("", None, 10).await.unwrap().keys.is_empty());
    lower.set("again", Bytes::from_static(b"x"), None, Condition::Always).await.unwrap();
}

/// Sets until the store is there again.
#[cfg(feature = "nats")]
async fn set_again(store: &KeyValue) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = store.set("again", Bytes::from_static(b"x"), None, Condition::Always).await {
        assert!(error.is_outage() && Instant::now() < deadline, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(feature = "nats")]
async fn a_bucket_that_its_server_has_lost_is_made_again() {
    let Some(mut server) = servers::nats() else { return };
    let store = open(&server.url).await;
    store.set("before", Bytes::from_static(b"x"), None, Condition::Always).await.unwrap();

    server.lose();
    server.start();
    set_again(&store).await;

    let client = async_nats::connect(&server.url).await.unwrap();
    async_nats::jetstream::new(client).delete_stream("KV_suite").await.unwrap();
    assert!(store.list("", None, 10).await.unwrap_err().is_outage());
    assert!(store.list("", None, 10).await.unwrap().keys.is_empty());
    set_again(&store).await;

    assert_eq!(store.list("", None, 10).await.unwrap().keys, ["again"]);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(feature = "nats")]
async fn examining_makes_no_bucket() {
    let Some(server) = servers::nats() else { return };
    super::super::StorePool::default().get(&options(&server.url)).examine().await.unwrap();

    let client = async_nats::connect(&server.url).await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream("KV_suite").await;
    assert!(stream.is_err());
}
