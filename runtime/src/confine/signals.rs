//! Signals that wait, or have no effect, while nobody can act on them.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use libc::{SIG_BLOCK, SIG_IGN, SIG_SETMASK, SIG_UNBLOCK, c_int, sigset_t};

/// What people and service managers send to a program, and what would end it if nothing else is said.
const SENT: [c_int; 5] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2];

/// Signals that wait for as long as this is there, for the thread that made it, for the threads that it
/// starts, and for the programs that it starts until they say otherwise. Dropping it has them wait or not
/// as before.
#[must_use]
pub struct Held {
    before: sigset_t,
    /// Not for another thread: each has its own.
    _thread: PhantomData<*const ()>,
}

impl Held {
    /// Has signals wait from now on.
    pub fn new() -> Held {
        Held { before: mask(SIG_BLOCK, &sent()), _thread: PhantomData }
    }

    /// Has them wait until [`let_through`].
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

/// Lets signals through to this thread from now on, those that came meanwhile first; whoever had them
/// wait, which may be whoever started us.
pub fn let_through() {
    mask(SIG_UNBLOCK, &sent());
}

impl Default for Held {
    fn default() -> Held {
        Held::new()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        mask(SIG_SETMASK, &self.before);
    }
}

/// Has SIGHUP and SIGUSR2 do nothing, to this program and to the one that it becomes, until that one
/// listens for them.
pub fn ignore_changes() {
    for signal in [libc::SIGHUP, libc::SIGUSR2] {
        // SAFETY: no code of ours is named, and both are signals that may be ignored, signal(2).
        unsafe { libc::signal(signal, SIG_IGN) };
    }
}

/// Has a write beyond RLIMIT_FSIZE fail, in this program and in those that it starts, instead of ending
/// it: how far a file is written is a handler's choice, setrlimit(2).
pub fn outlive_large_files() {
    // SAFETY: no code of ours is named, and it is a signal that may be ignored, signal(2).
    unsafe { libc::signal(libc::SIGXFSZ, SIG_IGN) };
}

/// Makes the set of what is sent.
fn sent() -> sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset(3) makes a whole set of what it is given, and the numbers are of signals.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in SENT {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// Changes which signals wait for this thread, and says which did before.
fn mask(how: c_int, set: &sigset_t) -> sigset_t {
    let mut before = MaybeUninit::uninit();
    // SAFETY: both sets outlive the call. Where it does not fail, pthread_sigmask(3) has written the
    // second, and where it does, nothing is read of it.
    unsafe {
        let refused = libc::pthread_sigmask(how, set, before.as_mut_ptr());
        assert_eq!(refused, 0, "pthread_sigmask takes what it is given");
        before.assume_init()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says whether a signal waits for this thread.
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
        let outer = Held::new();
        let inner = Held::new();
        assert!(waits(libc::SIGHUP) && waits(libc::SIGTERM) && !waits(libc::SIGXCPU));

        drop(inner);
        assert!(waits(libc::SIGHUP), "as before");
        Held::new().keep();
        assert!(waits(libc::SIGHUP));
        let_through();
        assert!(!waits(libc::SIGHUP), "whatever was before");

        drop(outer);
        assert!(!waits(libc::SIGHUP));
    }
}
