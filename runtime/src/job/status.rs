//! The exit status of a job, with the numbers that a shell uses.

use std::fmt;

/// The exit status of a job: 0 is success.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Status(pub u8);

impl Status {
    /// The job succeeded.
    pub const OK: Status = Status(0);
    /// The job failed.
    pub const ERROR: Status = Status(1);
    /// The job reached its time limit, as `timeout(1)` reports it.
    pub const TIMED_OUT: Status = Status(124);
    /// No job has that name, as `sh(1)` reports it.
    pub const NOT_FOUND: Status = Status(127);
    /// The job trapped: 128 + SIGABRT.
    pub const TRAPPED: Status = Status(134);
    /// The job ran out of memory: 128 + SIGKILL, as the kernel's OOM killer ends a process.
    pub const OUT_OF_MEMORY: Status = Status(137);
    /// The job was stopped by the client, an operator or a shutdown: 128 + SIGTERM.
    pub const STOPPED: Status = Status(143);

    /// Reports whether the job succeeded.
    pub fn is_ok(self) -> bool {
        self == Status::OK
    }
}

/// `OK (0)`, `ERR (1)`: the form of the closing log line.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_ok() { "OK" } else { "ERR" };
        write!(f, "{word} ({})", self.0)
    }
}

impl From<i32> for Status {
    /// Keeps the low eight bits, as `wait(2)` does; a non-zero code never becomes 0.
    fn from(code: i32) -> Status {
        let [low, ..] = code.to_le_bytes();
        if low == 0 && code != 0 { Status::ERROR } else { Status(low) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_never_becomes_a_success() {
        assert_eq!(Status::from(0), Status::OK);
        assert_eq!(Status::from(42), Status(42));
        assert_eq!(Status::from(256), Status::ERROR);
        assert_eq!(Status::from(-1), Status(255));
    }
}
