//! Waiting for what tells nobody when it happens.

use std::time::{Duration, Instant};

/// How long anything may take that is to happen at once: generous, for it is reached only by a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// Looks again and again until there is something, and fails the test after [`PATIENCE`].
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// Looks again and again until there is something, and fails the test after `patience`.
pub(crate) fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        // Files, sockets of others and processes have no event that a test could wait for.
        std::thread::park_timeout(PAUSE);
    }
}

/// Looks again and again for as long as `time`, and fails the test if it is there: for what must not
/// happen, of which there is no event.
pub(crate) fn never(time: Duration, what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        assert!(!look(), "{what}");
        std::thread::park_timeout(PAUSE);
    }
}
