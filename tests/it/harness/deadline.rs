//! Polling for conditions that send no event.

use std::sync::atomic::{AtomicBool, Ordering};
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

/// The number of attempts at something that a busy machine may delay.
const ATTEMPTS: usize = 5;

/// Repeats `attempt` until it succeeds, and fails the test if it never does. A delay by the machine is gone at another
/// attempt; a delay by the daemon is not.
pub(crate) fn attempted<T>(mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let mut failures = Vec::new();
    for _ in 0..ATTEMPTS {
        match attempt() {
            Ok(done) => return done,
            Err(failure) => failures.push(failure),
        }
    }
    panic!("{ATTEMPTS} attempts have failed: {failures:#?}");
}

/// Repeats `work` until it takes less than `bound`, as [`attempted`] does.
pub(crate) fn soon(bound: Duration, mut work: impl FnMut()) {
    attempted(|| {
        let start = Instant::now();
        work();
        let time = start.elapsed();
        if time < bound { Ok(()) } else { Err(format!("{time:?}, and may take less than {bound:?}")) }
    });
}

/// Sets a flag at the end of its scope, also if that is a panic. A thread that works until the flag is set ends then,
/// and the scope that waits for the thread ends too.
pub(crate) struct Ends<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
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
