//! Why an operation on a store failed.

use std::fmt;

/// An operation on a store that failed. The text says what to change.
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
}

/// The kind of a failure. Unless it is said otherwise, nothing was written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// `handler.NAME.stores` does not grant the store.
    AccessDenied,
    /// A key, value or batch is outside the bounds.
    Invalid,
    /// The store would hold more than its quota.
    QuotaExceeded,
    /// The value to increment is not a decimal integer.
    NotANumber,
    /// The sum does not fit into 64 bits.
    Overflow,
    /// This job has used stores as often as allowed.
    TooMany,
    /// The store did not answer in time. A write may or may not have happened.
    Timeout,
    /// The connection ended during a write, which may or may not have happened.
    Interrupted,
    /// The store cannot be reached, or is damaged.
    Unavailable,
    /// The value is not of the expected type.
    Json,
    /// A failure that this version of the SDK does not know.
    Other,
}

impl StoreError {
    pub(super) fn new(kind: StoreErrorKind, message: impl Into<String>) -> StoreError {
        StoreError { kind, message: message.into() }
    }

    /// Makes an error from a code of the daemon and its message.
    #[cfg_attr(
        not(all(target_os = "wasi", target_env = "p1")),
        allow(dead_code, reason = "there is no daemon to say it")
    )]
    pub(super) fn of(code: &str, message: impl Into<String>) -> StoreError {
        let kind = match code {
            "access_denied" => StoreErrorKind::AccessDenied,
            "invalid" => StoreErrorKind::Invalid,
            "quota_exceeded" => StoreErrorKind::QuotaExceeded,
            "not_a_number" => StoreErrorKind::NotANumber,
            "overflow" => StoreErrorKind::Overflow,
            "too_many" => StoreErrorKind::TooMany,
            "timeout" => StoreErrorKind::Timeout,
            "interrupted" => StoreErrorKind::Interrupted,
            "unavailable" | "corrupt" => StoreErrorKind::Unavailable,
            _ => StoreErrorKind::Other,
        };
        StoreError { kind, message: message.into() }
    }

    /// Returns the kind of the failure.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}

impl std::error::Error for StoreError {}
