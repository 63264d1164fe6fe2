//! How long a call may take, and how large its bodies may be.

use tokio::time::{Duration, Instant};

/// Longer than any job runs, and no clock overflows with it.
pub(super) const FOR_EVER: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// How long an exchange may take, and how much.
#[derive(Clone, Copy)]
pub(super) struct CallBounds {
    pub(super) first_byte: Duration,
    pub(super) between_bytes: Option<Duration>,
    /// When all of it must be over.
    pub(super) whole: Instant,
    /// Bytes of a body, either way.
    pub(super) body: u64,
}
