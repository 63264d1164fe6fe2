//! Whether connections are still open while the process ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The longest that the end of the process waits for connections. The last connection to a file moves the log of changes
/// into the file. If it does not get that far, the log stays beside the file, and nothing is lost.
const CLOSING: Duration = Duration::from_secs(5);

/// Whether the process ends.
static HAS_BEGUN: AtomicBool = AtomicBool::new(false);

/// The number of threads that may have a connection open.
static OPEN: Mutex<usize> = Mutex::new(0);

/// Notified when such a thread ends.
static ENDED: Condvar = Condvar::new();

/// The mark of a thread that may have a connection open.
pub(super) struct OpenMark(());

impl OpenMark {
    pub(super) fn new() -> OpenMark {
        *OPEN.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        OpenMark(())
    }
}

impl Drop for OpenMark {
    fn drop(&mut self) {
        *OPEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_all();
    }
}

/// Notes that the process ends.
pub(super) fn begin() {
    HAS_BEGUN.store(true, Ordering::SeqCst);
}

/// Whether the process ends, so that a connection that a job returns is not kept.
pub(super) fn has_begun() -> bool {
    HAS_BEGUN.load(Ordering::SeqCst)
}

/// Waits until no thread has a connection open, but not for long. Blocks.
pub(super) fn wait() {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    // What is open after that time stays so.
    let _open = ENDED.wait_timeout_while(open, CLOSING, |open| *open > 0);
}
