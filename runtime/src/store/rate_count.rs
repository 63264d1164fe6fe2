//! A request that a store counts against a rate limit, and the outcome.

use std::time::Duration;

/// A request of a client, to be counted against a limit.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "no other store counts requests"))]
pub(super) struct RateRequest<'a> {
    /// The name of the limit.
    pub(super) limit: &'a str,
    /// What tells the client from others.
    pub(super) client: &'a [u8],
    /// The time in which one request becomes possible, in microseconds.
    pub(super) interval_us: f64,
    /// How many requests pass at once.
    pub(super) burst: u32,
    /// Chooses the slots of clients, if the limit is new in the store.
    pub(super) seed: &'a str,
}

/// How a request was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RateCount {
    /// It passes.
    Admitted {
        /// How many more pass at once.
        requests: u32,
    },
    /// It is beyond the limit, and does not count.
    Refused {
        /// How long until the next one passes.
        retry_after: Duration,
    },
}
