//! The error that a guest gets when a job it called did not run, or was ended by a fault.

use std::fmt;

use crate::job::{CallError, Fault, Name};

/// A code for programs and a message for people.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Failure {
    fn new(code: &'static str, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }

    /// Describes the fault that ended a job.
    pub(super) fn of(name: &str, fault: &Fault) -> Failure {
        let message = match fault {
            // These messages begin with the name already.
            fault if fault.is_without_slot() => fault.to_string(),
            // The details go to the daemon's log alone: only its operator may read them.
            Fault::Host(_) => format!("{name}: internal error: see the daemon's log"),
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

    pub(super) fn too_long(max: usize) -> Failure {
        Failure::new(
            "too_long",
            format!(
                "the arguments and variables of a job have {max} bytes at most: send the rest to its stdin"
            ),
        )
    }

    pub(super) fn too_many_known(max: usize) -> Failure {
        Failure::new("too_many", format!("a job may hold {max} jobs at once: drop those that have ended"))
    }

    pub(super) fn not_read(name: &str) -> Failure {
        Failure::new("not_read", format!("{name} reads no more of its stdin"))
    }

    /// The call does not fit the state of the job.
    pub(super) fn state(what: &str) -> Failure {
        Failure::new("wrong_state", what)
    }

    pub(super) fn unknown() -> Failure {
        Failure::new("unknown_job", "there is no job with this number: it was dropped, or never started")
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

/// The message of the last failure, which `error` returns.
#[derive(Default)]
pub(in crate::wasm) struct LastError(pub(super) String);

impl LastError {
    /// Converts an outcome to a return value. A failure is kept for `error`, and returns -1.
    pub(super) fn settle(&mut self, outcome: std::result::Result<i32, Failure>) -> i32 {
        outcome.unwrap_or_else(|failure| {
            self.0 = failure.to_string();
            -1
        })
    }
}
