//! The number of a job, and its label in the log.

use std::fmt;

/// The number of a job, unique within one run of the daemon and unlikely to repeat across runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct JobId(pub u64);

/// Sixteen hexadecimal digits.
impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for JobId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<JobId, Self::Err> {
        u64::from_str_radix(text, 16).map(JobId)
    }
}

/// The label of a job in the log: its number, and the number of the job that called it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label {
    /// Its number.
    pub id: JobId,
    /// The number of its caller, if a job called it.
    pub parent: Option<JobId>,
}

/// `e596cf1f00000002 of e596cf1f00000001`, or the first of these alone.
impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)?;
        self.parent.map_or(Ok(()), |parent| write!(f, " of {parent}"))
    }
}
