//! Why an operation of a store failed.

use std::fmt;

/// Why an operation failed. Unless the variant says otherwise, nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// A key, value, batch or time to live is outside the bounds. The text says which.
    Invalid(String),
    /// The store would hold more than its quota, in bytes.
    QuotaExceeded {
        /// The quota in bytes.
        quota: u64,
    },
    /// The value to increment is not a decimal integer of 64 bits.
    NotANumber,
    /// The sum does not fit into 64 bits.
    Overflow,
    /// The store did not answer in time. A write may or may not have happened.
    Timeout,
    /// The store cannot be reached.
    Unavailable(String),
    /// The connection ended during a write, which may or may not have happened.
    Interrupted(String),
    /// The file is not a store, or is damaged. The text says what to do.
    Corrupt(String),
}

impl StoreError {
    /// Returns the word for programs: part of the interface that guests see, and a label of metrics.
    pub fn code(&self) -> &'static str {
        match self {
            StoreError::Invalid(_) => "invalid",
            StoreError::QuotaExceeded { .. } => "quota_exceeded",
            StoreError::NotANumber => "not_a_number",
            StoreError::Overflow => "overflow",
            StoreError::Timeout => "timeout",
            StoreError::Unavailable(_) => "unavailable",
            StoreError::Interrupted(_) => "interrupted",
            StoreError::Corrupt(_) => "corrupt",
        }
    }

    /// Whether the store itself failed, rather than the request.
    pub fn is_outage(&self) -> bool {
        match self {
            StoreError::Timeout
            | StoreError::Unavailable(_)
            | StoreError::Interrupted(_)
            | StoreError::Corrupt(_) => true,
            StoreError::Invalid(_)
            | StoreError::QuotaExceeded { .. }
            | StoreError::NotANumber
            | StoreError::Overflow => false,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Invalid(what) => f.write_str(what),
            StoreError::QuotaExceeded { quota } => {
                write!(f, "the store is full: its quota is {quota} bytes; delete entries or raise `quota`")
            }
            StoreError::NotANumber => f.write_str(
                "the value is not a decimal integer of 64 bits: only such a value can be incremented",
            ),
            StoreError::Overflow => f.write_str("the sum does not fit into 64 bits: the value is unchanged"),
            StoreError::Timeout => {
                f.write_str("the store did not answer in time: a write may or may not have happened")
            }
            StoreError::Unavailable(why) => write!(f, "the store cannot be reached: {why}"),
            StoreError::Interrupted(why) => {
                write!(f, "the connection ended during a write, which may or may not have happened: {why}")
            }
            StoreError::Corrupt(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for StoreError {}
