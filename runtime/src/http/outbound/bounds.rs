//! The time and size limits of one call.

use tokio::time::{Duration, Instant};

/// Longer than any job runs, yet no clock overflows when it is added.
pub(super) const FOR_EVER: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The time and size limits of one exchange.
#[derive(Clone, Copy)]
pub(super) struct CallBounds {
    pub(super) first_byte: Duration,
    pub(super) between_bytes: Option<Duration>,
    /// When the whole exchange must be over.
    pub(super) whole: Instant,
    /// Bytes of a request or response body.
    pub(super) body: u64,
}
