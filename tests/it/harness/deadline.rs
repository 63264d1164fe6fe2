//! Polling for conditions that send no event.

use std::time::{Duration, Instant};

/// The limit on anything that should happen at once. It is generous, because only a failure reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The pause between two checks.
const PAUSE: Duration = Duration::from_millis(2);

/// Repeats `look` until it returns a value, and fails the test after [`PATIENCE`].
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// Repeats `look` until it returns a value, and fails the test after `patience`.
pub(crate) fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        // Files, sockets of other processes, and processes send no event that a test could await.
        std::thread::park_timeout(PAUSE);
    }
}

/// Repeats `look` for `time`, and fails the test if it returns `true`: for events that must not happen, where nothing
/// can be awaited.
pub(crate) fn never(time: Duration, what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        assert!(!look(), "{what}");
        std::thread::park_timeout(PAUSE);
    }
}
