//! The threads of stores that are closed: each puts on disk what is left to write, and ends.
//!
//! A store is dropped by async workers, which must not wait for a disk.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

/// The threads that may still have their file open.
static CLOSING: Mutex<Vec<(PathBuf, JoinHandle<()>)>> = Mutex::new(Vec::new());

/// Leaves a thread to itself. Its queue is closed.
pub(super) fn leave(path: &Path, thread: JoinHandle<()>) {
    let mut closing = CLOSING.lock().unwrap_or_else(PoisonError::into_inner);
    closing.retain(|(_, thread)| !thread.is_finished());
    closing.push((path.to_owned(), thread));
}

/// Waits until this process has closed a file, so that it can be opened again. Blocks.
pub(super) fn wait_for(path: &Path) {
    join(|closing| closing == path);
}

/// Waits until all closed stores are on disk. Blocks. Called before the process ends.
pub fn wait_for_all() {
    join(|_| true);
}

fn join(is_wanted: impl Fn(&Path) -> bool) {
    let mut closing = CLOSING.lock().unwrap_or_else(PoisonError::into_inner);
    let (wanted, others) = closing.drain(..).partition(|(path, _)| is_wanted(path));
    *closing = others;
    drop(closing);
    let wanted: Vec<(PathBuf, JoinHandle<()>)> = wanted;
    for (_, thread) in wanted {
        // The thread catches panics of redb; there is nothing to do about any other.
        let _ended = thread.join();
    }
}
