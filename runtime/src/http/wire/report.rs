//! The seam to the server: what the checks of a connection report.

use std::fmt;

use bytes::Bytes;

use super::h2::sent::H2Event;
use crate::http::refusal::Refusal;

/// Counts and logs what a connection is refused for, and words the answer.
pub(in crate::http) trait ConnectionReport: Send + Sync {
    /// Makes the whole answer, as it is on the wire, to bytes that never become a request. `asked` is what is
    /// known of the request line, fit for a log.
    fn turn_away(&self, refusal: Refusal, asked: &str) -> Bytes;

    /// Notes that the connection ends without an answer.
    fn cut_off(&self, refusal: &Refusal, why: &dyn fmt::Display);

    /// Notes what a client of HTTP/2 was told.
    fn told(&self, told: H2Event);
}
