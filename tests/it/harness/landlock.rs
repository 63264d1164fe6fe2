//! Landlock for the processes that a test starts: as this host has it, or missing.

use std::panic::resume_unwind;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

use super::{Daemon, Setup};

/// Whether a process has Landlock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Landlock {
    /// As on this host.
    Native,
    /// No Landlock: its system calls fail with `ENOSYS`, as on a kernel that was built without it.
    Missing,
}

impl Landlock {
    pub(crate) const BOTH: [Landlock; 2] = [Landlock::Native, Landlock::Missing];

    /// Pairs each item with both variants.
    pub(crate) fn each<T: Copy>(items: impl IntoIterator<Item = T>) -> impl Iterator<Item = (T, Landlock)> {
        items.into_iter().flat_map(|item| Landlock::BOTH.map(|landlock| (item, landlock)))
    }

    /// Starts a daemon with a mount. Without Landlock, waits for its warning that nothing confines file operations.
    pub(crate) fn start(self, setup: Setup) -> Daemon {
        let daemon = self.around(|| setup.start());
        if self == Landlock::Missing {
            daemon.log.line("file operations of handlers are not confined by the kernel: Landlock needs ");
        }
        daemon
    }

    /// Runs a closure. The processes that it starts have this variant.
    pub(crate) fn around<T: Send>(self, start: impl FnOnce() -> T + Send) -> T {
        match self {
            Landlock::Native => start(),
            // A child inherits the filter of the thread that starts it. The other threads of the test have none.
            Landlock::Missing => std::thread::scope(|scope| {
                let started = scope.spawn(|| {
                    give_up();
                    start()
                });
                started.join().unwrap_or_else(|panic| resume_unwind(panic))
            }),
        }
    }
}

/// Gives up the system calls of Landlock, for this thread and what it starts.
fn give_up() {
    let calls =
        [libc::SYS_landlock_create_ruleset, libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self];
    let rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
    let missing = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, missing, arch).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}
