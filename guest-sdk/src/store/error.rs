//! Why an operation on a store failed.

use crate::code_error::code_error;

code_error! {
    /// An operation on a store that failed. The text says what to change.
    StoreError

    /// The kind of a failure. Unless it is said otherwise, nothing was written.
    StoreErrorKind {
        /// `handler.NAME.stores` does not grant the store.
        AccessDenied = "access_denied",
        /// A key, value or batch is outside the bounds.
        Invalid = "invalid",
        /// The store would hold more than its quota.
        QuotaExceeded = "quota_exceeded",
        /// The value to increment is not a decimal integer.
        NotANumber = "not_a_number",
        /// The sum does not fit into 64 bits.
        Overflow = "overflow",
        /// This job has used stores as often as allowed, or has no memory for the operation.
        TooMany = "too_many",
        /// The store did not answer in time. A write may or may not have happened.
        Timeout = "timeout",
        /// The connection ended during a write, which may or may not have happened.
        Interrupted = "interrupted",
        /// The store cannot be reached, or is damaged.
        Unavailable = "unavailable" | "corrupt",
        /// The value is not of the expected type.
        Json,
    }
}
