//! Listings of all entries: whole, in bounded pieces, and of one moment where that is promised.

use std::time::Duration;

use bytes::Bytes;

use super::super::{Condition, Durability, KeyValue, MAX_BATCH, MAX_BATCH_BYTES, StoreEntry, StoreOptions};
use super::{open_file, options};

/// Reads all entries, and checks that each piece of them is bounded.
pub(super) async fn all(store: &KeyValue, prefix: &str) -> Vec<StoreEntry> {
    let mut entries = store.entries(prefix).await.unwrap();
    let mut all = Vec::new();
    while let Some(batch) = entries.next().await.unwrap() {
        let bytes: usize = batch.iter().map(|entry| entry.current.value.len()).sum();
        assert!(batch.len() <= MAX_BATCH && bytes <= MAX_BATCH_BYTES, "{} {bytes}", batch.len());
        all.extend(batch);
    }
    all
}

/// More entries than a batch has, one of them with a time to live. For the suite of all back ends.
pub(super) async fn listing(one: &KeyValue, two: &KeyValue) {
    let count = MAX_BATCH + 20;
    let ttl = Some(Duration::from_secs(3600));
    one.set("e/ttl", Bytes::from_static(b"\xff"), ttl, Condition::Always).await.unwrap();
    one.set("f", Bytes::new(), None, Condition::Always).await.unwrap();
    let keys: Vec<String> = (0..count).map(|number| format!("e/{number:04}")).collect();
    for some in keys.chunks(100) {
        let entries = some.iter().map(|key| (key.clone(), Bytes::from(key.clone())));
        one.set_many(entries.collect()).await.unwrap();
    }

    let mut entries = all(two, "e/").await;

    entries.sort_by(|a, b| a.key.cmp(&b.key));
    let (last, plain) = entries.split_last().unwrap();
    assert_eq!((last.key.as_str(), &*last.current.value), ("e/ttl", &b"\xff"[..]));
    let expires = last.current.expires_ms.unwrap();
    let left = expires - super::super::rows::now();
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
    assert_eq!(Some(&last.current), one.get("e/ttl").await.unwrap().as_ref());
    assert!(plain.iter().all(|entry| entry.current.expires_ms.is_none()));
    assert!(plain.iter().map(|entry| &entry.key).eq(&keys));
    assert!(plain.iter().all(|entry| entry.current.value == entry.key));
    assert!(one.used().await.unwrap() > 0);
    for some in keys.chunks(MAX_BATCH) {
        one.delete_many(some.to_vec()).await.unwrap();
    }
    one.delete_many(vec!["e/ttl".to_owned(), "f".to_owned()]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_too_large_for_a_batch_are_listed_in_several() {
    let store = KeyValue::open(&StoreOptions { quota: 64 << 20, ..options("memory:") }).await.unwrap();
    for number in 0..20 {
        let value = Bytes::from(vec![number; 900_000]);
        store.set(&format!("{number:02}"), value, None, Condition::Always).await.unwrap();
    }

    let entries = all(&store, "").await;

    assert_eq!(entries.len(), 20);
    assert!((0..20).zip(&entries).all(|(number, entry)| entry.current.value[0] == number));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_entries_of_a_file_are_of_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_file(&dir.path().join("a.redb"), Durability::Sync).await;
    // More than the batches that are read ahead.
    for some in 0..8 {
        let entry = |number: usize| (format!("{some}/{number:03}"), Bytes::from_static(b"old"));
        store.set_many((0..MAX_BATCH).map(entry).collect()).await.unwrap();
    }

    let mut entries = store.entries("").await.unwrap();
    let mut seen = entries.next().await.unwrap().unwrap();
    for some in 0..8 {
        let entry = |number: usize| (format!("{some}/{number:03}"), Bytes::from_static(b"new"));
        store.set_many((0..MAX_BATCH).map(entry).collect()).await.unwrap();
    }
    while let Some(batch) = entries.next().await.unwrap() {
        seen.extend(batch);
    }

    assert_eq!(seen.len(), 8 * MAX_BATCH);
    assert!(seen.iter().all(|entry| &*entry.current.value == b"old"));
}
