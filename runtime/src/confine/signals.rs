//! Signals that are blocked or ignored while the process cannot handle them.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use libc::{SIG_BLOCK, SIG_IGN, SIG_SETMASK, SIG_UNBLOCK, c_int, sigset_t};

/// The signals that people and service managers send. Each would end a program without a handler.
const SENT: [c_int; 5] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2];

/// Blocks signals for the current thread and the threads and programs that it starts. Dropping it restores the
/// previous mask.
#[must_use]
pub struct BlockedSignals {
    before: sigset_t,
    /// Not `Send`: each thread has its own mask.
    _thread: PhantomData<*const ()>,
}

impl BlockedSignals {
    /// Blocks the signals from now on.
    pub fn new() -> BlockedSignals {
        BlockedSignals { before: mask(SIG_BLOCK, &sent()), _thread: PhantomData }
    }

    /// Keeps the signals blocked until [`let_through`].
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

/// Unblocks the signals for this thread; pending ones arrive first. The block may have been inherited from the parent
/// process.
pub fn let_through() {
    mask(SIG_UNBLOCK, &sent());
}

impl Default for BlockedSignals {
    fn default() -> BlockedSignals {
        BlockedSignals::new()
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        mask(SIG_SETMASK, &self.before);
    }
}

/// Ignores SIGHUP and SIGUSR2, in this program and in the one it executes, until that one installs handlers.
pub fn ignore_changes() {
    for signal in [libc::SIGHUP, libc::SIGUSR2] {
        // SAFETY: no handler function is installed, and both signals may be ignored, signal(2).
        unsafe { libc::signal(signal, SIG_IGN) };
    }
}

/// Makes a write beyond RLIMIT_FSIZE fail instead of ending the process, here and in child programs. A handler chooses
/// how large a file grows (setrlimit(2)).
pub fn outlive_large_files() {
    // SAFETY: no handler function is installed, and the signal may be ignored, signal(2).
    unsafe { libc::signal(libc::SIGXFSZ, SIG_IGN) };
}

/// Returns the set of [`SENT`] signals.
fn sent() -> sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset(3) initializes the whole set, and the numbers are valid signals.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in SENT {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// Changes the signal mask of this thread, and returns the previous one.
fn mask(how: c_int, set: &sigset_t) -> sigset_t {
    let mut before = MaybeUninit::uninit();
    // SAFETY: both sets outlive the call. On success pthread_sigmask(3) has written the second set; on failure the
    // assertion prevents its use.
    unsafe {
        let refused = libc::pthread_sigmask(how, set, before.as_mut_ptr());
        assert_eq!(refused, 0, "pthread_sigmask takes what it is given");
        before.assume_init()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whether a signal is blocked for this thread.
    fn waits(signal: c_int) -> bool {
        let now = mask(SIG_BLOCK, &none());
        // SAFETY: the set is whole.
        unsafe { libc::sigismember(&now, signal) == 1 }
    }

    fn none() -> sigset_t {
        let mut set = MaybeUninit::uninit();
        // SAFETY: as in `sent`.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            set.assume_init()
        }
    }

    #[test]
    fn signals_wait_while_they_are_held_and_no_longer() {
        let outer = BlockedSignals::new();
        let inner = BlockedSignals::new();
        assert!(waits(libc::SIGHUP) && waits(libc::SIGTERM) && !waits(libc::SIGXCPU));

        drop(inner);
        assert!(waits(libc::SIGHUP), "as before");
        BlockedSignals::new().keep();
        assert!(waits(libc::SIGHUP));
        let_through();
        assert!(!waits(libc::SIGHUP), "whatever was before");

        drop(outer);
        assert!(!waits(libc::SIGHUP));
    }
}
