//! Tests of the part of a stored body that is written to a file.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use futures_util::FutureExt as _;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::*;
use crate::http::wire::client_memory::ClientMemory;

fn begin(place: &TempDir, memory: &MemoryAccount) -> SpoolFile {
    let scratch = Scratch::new(File::open(place.path()).unwrap().into());
    let space = SpoolSpace { scratch: Some(Arc::new(scratch)), client: None };
    SpoolFile::begin(&space, memory).unwrap()
}

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8)) as u8).collect()
}

/// Adds a body in pieces and ends it. Returns how many bytes of it were in the file meanwhile.
async fn add(file: &mut SpoolFile, whole: &[u8], piece: usize) -> Vec<usize> {
    let mut written = BTreeSet::new();
    for piece in whole.chunks(piece) {
        file.add(piece).await.unwrap();
        written.insert(file.written as usize);
    }
    assert_eq!(file.end().await.unwrap(), whole.len() as u64);
    written.into_iter().collect()
}

async fn read(mut file: SpoolFile) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = poll_fn(|context| file.poll_next(context)).await {
        all.extend_from_slice(&piece.unwrap());
    }
    assert!(file.file.is_none() && file.gathered.is_empty());
    all
}

#[tokio::test]
async fn pieces_of_any_size_are_written_in_batches_and_what_follows_the_last_is_not() {
    for piece in [1000, 40_000, BATCH, 5 * BATCH] {
        let place = tempfile::tempdir().unwrap();
        let whole = body(3 * BATCH + 1000);
        let mut file = begin(&place, &MemoryAccount::unlimited());

        let written = add(&mut file, &whole, piece).await;

        assert!(written.iter().all(|written| written.is_multiple_of(BATCH)), "{piece}: {written:?}");
        assert_eq!((file.written as usize, file.gathered.len()), (3 * BATCH, 1000));
        assert!(read(file).await == whole, "{piece}");
    }
}

#[tokio::test]
async fn less_than_a_batch_needs_no_file() {
    let place = tempfile::tempdir().unwrap();
    let whole = body(BATCH - 1);
    let mut file = begin(&place, &MemoryAccount::unlimited());

    add(&mut file, &whole, 10_000).await;

    assert!(file.file.is_none() && file.gathered.capacity() < BATCH);
    assert!(read(file).await == whole);
}

#[tokio::test]
async fn what_cannot_be_read_at_once_is_read_on_a_blocking_thread() {
    let place = tempfile::tempdir().unwrap();
    let whole = body(3 * BATCH);
    let mut file = begin(&place, &MemoryAccount::unlimited());
    add(&mut file, &whole, BATCH).await;

    file.reads_now = false;

    assert!(read(file).await == whole);
}

#[tokio::test]
async fn the_memory_of_a_piece_that_was_read_is_used_for_the_next() {
    let place = tempfile::tempdir().unwrap();
    let mut file = begin(&place, &MemoryAccount::unlimited());
    add(&mut file, &body(4 * BATCH), BATCH).await;
    file.reads_now = false;
    let mut places = BTreeSet::new();

    for _ in 0..4 {
        let piece = poll_fn(|context| file.poll_next(context)).await.unwrap().unwrap();
        places.insert(piece.as_ptr());
    }

    assert_eq!(places.len(), 1);
}

#[tokio::test]
async fn while_memory_is_scarce_nothing_is_gathered() {
    const SIZE: usize = LEAST_BATCH;
    let place = tempfile::tempdir().unwrap();
    let memory = ClientMemory::new(2 * SIZE - 1);
    let open = memory.open(None);
    let whole = body(10 * SIZE);
    let mut file = begin(&place, &open.account());
    drop(open);

    let written = add(&mut file, &whole, SIZE).await;

    assert_eq!(written, (1..=10).map(|count| count * SIZE).collect::<Vec<_>>());
    assert_eq!((file.gathered.capacity(), memory.held()), (0, 0));
    assert!(read(file).await == whole);
    assert_eq!(memory.held(), 0);
}

#[tokio::test]
async fn while_memory_is_scarce_a_write_has_more_than_the_few_bytes_of_a_piece() {
    let place = tempfile::tempdir().unwrap();
    let memory = ClientMemory::new(4 * BATCH);
    let open = memory.open(None);
    let _other = open.account().charge(3 * BATCH);
    let before = memory.held();
    let whole = body(10_000);
    let mut file = begin(&place, &open.account());

    let written = add(&mut file, &whole, 100).await;

    assert_eq!(written, [0, 4100, 8200]);
    assert_eq!((file.written, memory.held()), (10_000, before));
    assert!(read(file).await == whole);
}

#[tokio::test]
async fn memory_of_a_batch_is_given_back_once_memory_is_scarce() {
    let place = tempfile::tempdir().unwrap();
    let memory = ClientMemory::new(4 * BATCH);
    let open = memory.open(None);
    let before = memory.held();
    let mut file = begin(&place, &open.account());
    file.add(&body(BATCH / 2)).await.unwrap();
    assert_eq!((file.written, memory.held()), (0, before + BATCH / 2));
    let _other = open.account().charge(2 * BATCH);

    file.add(b"x").await.unwrap();

    assert_eq!((file.written as usize, file.gathered.capacity()), (BATCH / 2 + 1, 0));
    assert_eq!(memory.held(), before + 2 * BATCH);
}

/// Takes all files that the clients of one address may have beside one.
fn others(scratch: &Arc<Scratch>) -> Vec<Account> {
    (0..15).map(|_| scratch.account(None).unwrap()).collect()
}

/// A runtime with one blocking thread.
fn with_one_thread() -> Runtime {
    Builder::new_current_thread().max_blocking_threads(1).enable_time().build().unwrap()
}

/// Holds the blocking thread up, as a slow disk does, until the sender is dropped.
fn hold_up() -> Sender<()> {
    let (release, released) = channel();
    drop(spawn_blocking(move || released.recv()));
    release
}

/// Waits until the only blocking thread has done all that it has to do.
async fn idle() {
    spawn_blocking(|| {}).await.unwrap();
}

#[test]
fn a_batch_whose_client_has_left_counts_until_its_thread_ends() {
    let place = tempfile::tempdir().unwrap();
    let memory = ClientMemory::new(usize::MAX);
    let open = memory.open(None);
    let before = memory.held();
    let runtime = with_one_thread();
    let _within = runtime.enter();
    let release = hold_up();
    let mut file = begin(&place, &open.account());
    let scratch = file.scratch.clone();
    let others = others(&scratch);
    assert!(file.add(&body(BATCH)).now_or_never().is_none());

    drop(file);

    assert_eq!(memory.held(), before + BATCH);
    assert!(scratch.account(None).is_err());
    drop(release);
    runtime.block_on(idle());
    assert_eq!(memory.held(), before);
    assert!(scratch.account(None).is_ok());
    drop(others);
}

#[test]
fn a_piece_counts_while_it_is_read_and_with_all_of_its_memory_until_the_next() {
    let place = tempfile::tempdir().unwrap();
    let memory = ClientMemory::new(usize::MAX);
    let open = memory.open(None);
    let before = memory.held();
    let runtime = with_one_thread();
    let _within = runtime.enter();
    let mut file = begin(&place, &open.account());
    runtime.block_on(add(&mut file, &body(2 * BATCH), BATCH));
    file.reads_now = false;

    let release = hold_up();
    assert!(poll_fn(|context| file.poll_next(context)).now_or_never().is_none());
    assert_eq!(memory.held(), before + BATCH);
    drop(release);
    let first = runtime.block_on(poll_fn(|context| file.poll_next(context))).unwrap().unwrap();
    assert_eq!((first.len(), memory.held()), (BATCH, before + BATCH));
    drop(first);
    // The next piece is a small one, in the same memory.
    file.reads_now = true;
    let next = runtime.block_on(poll_fn(|context| file.poll_next(context))).unwrap().unwrap();
    assert_eq!(memory.held(), before + BATCH);
    drop((next, file));

    assert_eq!(memory.held(), before);
}

#[test]
fn a_body_is_read_while_all_threads_of_the_runtime_of_its_job_hang() {
    let place = tempfile::tempdir().unwrap();
    let (daemon, handler) = (with_one_thread(), with_one_thread());
    let whole = body(2 * BATCH);
    let mut file = daemon.block_on(async {
        let mut file = begin(&place, &MemoryAccount::unlimited());
        add(&mut file, &whole, BATCH).await;
        file
    });
    file.reads_now = false;
    let _within = handler.enter();
    let release = hold_up();

    let read = handler.block_on(async { timeout(Duration::from_secs(60), read(file)).await });

    drop(release);
    assert!(read.unwrap() == whole);
}

#[test]
fn a_large_file_is_closed_on_a_blocking_thread_and_counts_until_then() {
    let place = tempfile::tempdir().unwrap();
    let runtime = with_one_thread();
    let _within = runtime.enter();
    let mut file = begin(&place, &MemoryAccount::unlimited());
    let scratch = file.scratch.clone();
    let others = others(&scratch);
    runtime.block_on(add(&mut file, &body(5 * BATCH), BATCH));
    let release = hold_up();

    drop(file);

    assert!(scratch.account(None).is_err());
    drop(release);
    runtime.block_on(idle());
    assert!(scratch.account(None).is_ok());
    drop(others);
}
