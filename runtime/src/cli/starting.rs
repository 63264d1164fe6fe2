//! The start of a daemon: its log, and what a panic is before the daemon is there.

use std::panic::{self, PanicHookInfo};

use super::out::complain;
use crate::observe::log::{self, Level};

/// The hook that was there before.
type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send>;

/// While this is there, a panic of whatever thread ends the program with status 1. What starts threads
/// panics where it gets none, and to unwind out of a runtime that is half there is to wait for ever.
pub(super) struct Starting(Option<Hook>);

impl Starting {
    #[allow(
        clippy::disallowed_methods,
        reason = "there is nobody to return to: what would unwind waits for threads that never were"
    )]
    pub(super) fn new() -> Starting {
        let before = panic::take_hook();
        panic::set_hook(Box::new(|panicked| {
            complain(&reason(panicked));
            std::process::exit(1);
        }));
        Starting(Some(before))
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(before) = self.0.take() {
            panic::set_hook(before);
        }
    }
}

/// Says why there was a panic, in a line.
fn reason(panicked: &PanicHookInfo<'_>) -> String {
    // Asked of the host, and not read out of the words of whoever panicked.
    match std::thread::Builder::new().spawn(|| {}) {
        Err(refusal) => format!(
            "no thread can be started: {refusal}: allow more of them (TasksMax= and LimitNPROC= in the unit, \
             `ulimit -u` in a shell), or more memory (LimitAS=, `ulimit -v`)"
        ),
        Ok(_) => panicked.to_string().lines().collect::<Vec<_>>().join(" "),
    }
}

/// Starts logging as `-D` says.
pub(super) fn start_log(debug: bool) -> anyhow::Result<log::Log> {
    log::start(if debug { Level::Debug } else { Level::Normal })
}
