//! Stores by their place: what a changed configuration keeps, and what outlives a caller.

use std::time::Duration;

use bytes::Bytes;

use super::super::{Condition, Durability, StoreError, StoreOptions, StorePool};
use super::options;

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_quota_keeps_the_store() {
    let pool = StorePool::default();
    let before = pool.get(&options("memory:"));
    let value = Bytes::from(vec![0; 1000]);
    before.open().await.unwrap().set("a", value.clone(), None, Condition::Always).await.unwrap();

    let lower = StoreOptions { quota: 1500, ..options("memory:") };
    let after = pool.get(&lower);
    let store = after.open().await.unwrap();
    assert!(store.get("a").await.unwrap().is_some());
    store.set("b", value.clone(), None, Condition::Always).await.unwrap();
    after.apply();

    let error = store.set("c", value, None, Condition::Always).await.unwrap_err();
    assert_eq!(error, StoreError::QuotaExceeded { quota: 1500 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_durability_does_not_lock_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("redb:{}", dir.path().join("a.redb").display());
    let pool = StorePool::default();
    let relaxed = StoreOptions { durability: Durability::Relaxed, ..options(&url) };
    let before = pool.get(&relaxed);
    before.open().await.unwrap();

    let renamed = StoreOptions { name: "other".to_owned(), ..options(&url) };
    let after = pool.get(&renamed);
    after.apply();

    after.open().await.unwrap().set("a", Bytes::new(), None, Condition::Always).await.unwrap();
    // Stores in memory have no place but their name.
    let memory = pool.get(&options("memory:"));
    memory.open().await.unwrap().increment("n", 1).await.unwrap();
    let other = pool.get(&StoreOptions { name: "other".to_owned(), ..options("memory:") });
    assert_eq!(other.open().await.unwrap().get("n").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_of_a_file_is_made_by_who_opens_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/deep/a.redb");

    super::open_file(&path, Durability::Sync).await;

    let mode = dir.path().join("new/deep").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_goes_on_without_its_first_caller() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("redb:{}", dir.path().join("a.redb").display());
    let store = StorePool::default().get(&options(&url));
    // Polled once, and dropped.
    let _ended = tokio::time::timeout(Duration::ZERO, store.open()).await;

    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while store.opened().is_none() {
        assert!(std::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
}

#[cfg(feature = "redis")]
#[test]
fn a_connection_that_a_job_has_made_again_does_not_end_with_its_threads() {
    let Some(mut server) = super::servers::redis_in_memory() else { return };
    let [home, threads] = [(); 2].map(|()| tokio::runtime::Runtime::new().unwrap());
    let store = StorePool::within(Some(home.handle().clone())).get(&options(&server.url));
    home.block_on(store.open()).unwrap();
    server.stop();
    server.start();

    let again = async { while store.open().await.unwrap().get("a").await.is_err() {} };
    threads.block_on(async { tokio::time::timeout(Duration::from_secs(20), again).await.unwrap() });
    drop(threads);

    assert_eq!(home.block_on(store.opened().unwrap().get("a")), Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relaxed_store_is_left_to_the_next_process_when_its_last_job_ends() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("redb:{}", dir.path().join("a.redb").display());
    let options = StoreOptions { durability: Durability::Relaxed, ..options(&url) };
    let (ours, next) = (StorePool::default(), StorePool::default());
    let store = ours.get(&options);
    let set = async || {
        let store = store.open().await?;
        store.set("a", Bytes::from_static(b"1"), None, Condition::Always).await
    };
    let (first, last) = (store.enter(), store.enter());
    set().await.unwrap();

    ours.leave();
    drop(first);
    set().await.unwrap();
    drop(last);

    let theirs = next.get(&options);
    assert!(theirs.open().await.unwrap().get("a").await.unwrap().is_some());
    assert_eq!(set().await.unwrap_err().code(), "unavailable");
}
