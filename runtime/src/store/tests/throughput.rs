//! How durable writes share their fsync.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::super::{Condition, Durability};
use super::open_file;

/// Clients that write at once.
const CLIENTS: usize = 16;

/// Writes of each client.
const WRITES: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn writes_at_once_share_an_fsync() {
    let dir = tempfile::tempdir_in(std::env::var("STORE_DIR").unwrap_or_else(|_| ".".to_owned())).unwrap();
    let mut file = File::create(dir.path().join("one")).unwrap();
    let begin = Instant::now();
    for _ in 0..WRITES {
        file.write_all(&[0; 100]).unwrap();
        file.sync_data().unwrap();
    }
    let alone = WRITES as f64 / begin.elapsed().as_secs_f64();
    let store = Arc::new(open_file(&dir.path().join("store.redb"), Durability::Sync).await);

    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for client in 0..CLIENTS {
        let store = store.clone();
        tasks.spawn(async move {
            for write in 0..WRITES {
                let key = format!("{client}/{write}");
                store.set(&key, Bytes::from_static(&[0; 100]), None, Condition::Always).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let together = (CLIENTS * WRITES) as f64 / begin.elapsed().as_secs_f64();

    let begin = Instant::now();
    for read in 0..20_000 {
        store.get(&format!("{}/{}", read % CLIENTS, read % WRITES)).await.unwrap().unwrap();
    }
    let get = begin.elapsed() / 20_000;
    #[expect(clippy::print_stderr, reason = "the figure is what the test is run for")]
    let () = eprintln!(
        "fsync alone {alone:.0}/s, sets {together:.0}/s ({:.1} times), get {get:?}",
        together / alone
    );
    // A machine under load, and a disk without fsync, are no reason to fail.
    assert!(together > 0.0);
}
