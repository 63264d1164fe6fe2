//! What is left of a file after a crash, and of a file that is damaged.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::{Condition, Durability, KeyValue};
use super::{open_file, options};

async fn fill(store: &KeyValue, keys: usize) {
    for number in 0..keys {
        let value = Bytes::from(vec![b'v'; 1000]);
        store.set(&format!("key/{number:05}"), value, None, Condition::Always).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_file_in_use_holds_every_acknowledged_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("live.redb");
    let store = open_file(&path, Durability::Sync).await;

    fill(&store, 50).await;
    // What a SIGKILL leaves: the file as it is, without anything of the process.
    let copy = dir.path().join("copy.redb");
    fs::copy(&path, &copy).unwrap();

    let copy = open_file(&copy, Durability::Sync).await;
    assert_eq!(copy.list("", None, 1000).await.unwrap().keys.len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relaxed_write_is_on_disk_when_the_store_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("relaxed.redb");
    let store = open_file(&path, Durability::Relaxed).await;

    fill(&store, 50).await;
    drop(store);

    let store = open_file(&path, Durability::Sync).await;
    assert_eq!(store.list("", None, 1000).await.unwrap().keys.len(), 50);
}

async fn refused(path: &Path) -> String {
    let error = KeyValue::open(&options(&format!("redb:{}", path.display()))).await.err();
    let error = error.unwrap_or_else(|| panic!("{} opens", path.display()));
    assert_eq!(error.code(), "corrupt", "{error}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("whole.redb");
    let store = open_file(&path, Durability::Sync).await;
    fill(&store, 200).await;
    drop(store);
    let length = fs::metadata(&path).unwrap().len();

    let copy = |name: &str| {
        let copy = dir.path().join(name);
        fs::copy(&path, &copy).unwrap();
        copy
    };
    let torn = copy("torn.redb");
    fs::OpenOptions::new().write(true).open(&torn).unwrap().set_len(length / 2).unwrap();
    let message = refused(&torn).await;
    assert!(message.contains("move it away"), "{message}");

    let foreign = copy("foreign.redb");
    fs::write(&foreign, vec![b'x'; 10_000]).unwrap();
    refused(&foreign).await;

    // A byte of a value, wherever one is.
    let flipped = copy("flipped.redb");
    let mut file = fs::OpenOptions::new().read(true).write(true).open(&flipped).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    let at = bytes.windows(64).position(|piece| piece == [b'v'; 64]).unwrap();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(b"!").unwrap();
    refused(&flipped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_file_is_removed_is_unavailable_until_it_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    let (path, away) = (dir.path().join("a.redb"), dir.path().join("away.redb"));
    let store = open_file(&path, Durability::Sync).await;
    fill(&store, 1).await;
    let set = || store.set("k", Bytes::from_static(b"v"), None, Condition::Always);
    let deadline = Instant::now() + Duration::from_secs(20);
    fs::rename(&path, &away).unwrap();

    let error = loop {
        match set().await {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < deadline, "what it writes is lost"),
        }
    };
    assert!(error.code() == "unavailable" && error.to_string().contains("restore the file"), "{error}");
    assert!(set().await.is_err() && !path.exists());

    fs::rename(&away, &path).unwrap();
    while set().await.is_err() {
        assert!(Instant::now() < deadline, "it is not opened again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
