//! The start of a daemon: starts its log, and turns panics before the start is complete into exit status 1.

use std::panic::{self, PanicHookInfo};

use super::out::complain;
use crate::observe::log::{self, Level};

/// A panic hook.
type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send>;

/// While this exists, a panic on any thread ends the program with status 1. Code that starts threads panics if it gets
/// none, and unwinding out of a half-started runtime would block forever.
pub(super) struct ExitOnPanic(Option<Hook>);

impl ExitOnPanic {
    #[allow(
        clippy::disallowed_methods,
        reason = "there is nobody to return to: what would unwind waits for threads that never were"
    )]
    pub(super) fn new() -> ExitOnPanic {
        let before = panic::take_hook();
        panic::set_hook(Box::new(|panicked| {
            complain(&reason(panicked));
            std::process::exit(1);
        }));
        ExitOnPanic(Some(before))
    }
}

impl Drop for ExitOnPanic {
    fn drop(&mut self) {
        if let Some(before) = self.0.take() {
            panic::set_hook(before);
        }
    }
}

/// Describes the reason of a panic in a line.
fn reason(panicked: &PanicHookInfo<'_>) -> String {
    // Tries to start a thread, since the panic's own text does not say so reliably.
    match std::thread::Builder::new().spawn(|| {}) {
        Err(refusal) => format!(
            "no thread can be started: {refusal}: allow more of them (TasksMax= and LimitNPROC= in the unit, \
             `ulimit -u` in a shell), or more memory (LimitAS=, `ulimit -v`)"
        ),
        Ok(_) => panicked.to_string().lines().collect::<Vec<_>>().join(" "),
    }
}

/// Starts the log, more verbose with `-D`.
pub(super) fn start_log(debug: bool) -> anyhow::Result<log::Log> {
    log::start(if debug { Level::Debug } else { Level::Normal })
}
