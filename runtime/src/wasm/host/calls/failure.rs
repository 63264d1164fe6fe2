//! What a guest is told when a job it called did not run, or did not end by itself.

use std::fmt;

use crate::job::{CallError, Fault, Name};

/// One word for programs and a line for people.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Failure {
    fn new(code: &'static str, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }

    /// Tells how a job ended that did not choose to.
    pub(super) fn of(name: &str, fault: &Fault) -> Failure {
        let message = match fault {
            // They begin with the name.
            Fault::Busy { .. } | Fault::QueuedTooLong { .. } => fault.to_string(),
            // Whoever runs the daemon reads the details in its log, and nobody else does.
            Fault::Host(_) => format!("{name}: internal error: the log says more"),
            fault => format!("{name}: {fault}"),
        };
        Failure { code: fault.code(), message }
    }

    pub(super) fn not_granted(caller: &Name, wanted: String) -> Failure {
        CallError::NotGranted { caller: caller.clone(), wanted }.into()
    }

    pub(super) fn malformed(what: String) -> Failure {
        Failure::new("malformed", what)
    }

    pub(super) fn too_long(most: usize) -> Failure {
        Failure::new(
            "too_long",
            format!("arguments and variables of a job have {most} bytes at most: write more to its stdin"),
        )
    }

    pub(super) fn too_many_known(most: usize) -> Failure {
        Failure::new("too_many", format!("{most} jobs are known at once at most: drop those that have ended"))
    }

    pub(super) fn not_read(name: &str) -> Failure {
        Failure::new("not_read", format!("{name} reads no more of its stdin"))
    }

    /// Tells that a call does not fit the job.
    pub(super) fn state(what: &str) -> Failure {
        Failure::new("wrong_state", what)
    }

    pub(super) fn unknown() -> Failure {
        Failure::new("unknown_job", "there is no job of this number: it was dropped, or never made")
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        Failure::new(error.code(), error.to_string())
    }
}

/// `CODE: MESSAGE`.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// What failed, for `error` to tell.
#[derive(Default)]
pub(in crate::wasm) struct LastError(pub(super) String);

impl LastError {
    /// Keeps the reason of a failure, and turns the outcome into what a function returns.
    pub(super) fn settle(&mut self, outcome: std::result::Result<i32, Failure>) -> i32 {
        outcome.unwrap_or_else(|failure| {
            self.0 = failure.to_string();
            -1
        })
    }
}
