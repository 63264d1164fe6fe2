//! The interface through which the checks of a connection report to the server.

use std::fmt;

use bytes::Bytes;

use super::h2::sent::H2Event;
use crate::http::refusal::Refusal;

/// Counts and logs the refusals of a connection, and words the answers.
pub(in crate::http) trait ConnectionReport: Send + Sync {
    /// Returns the complete response, as it is on the wire, to bytes that never become a request. `asked` is
    /// what is known of the request line, fit for a log.
    fn reject_raw(&self, refusal: Refusal, asked: &str) -> Bytes;

    /// Notes that the connection ends without a response.
    fn drop_connection(&self, refusal: &Refusal, why: &dyn fmt::Display);

    /// Notes a frame to an HTTP/2 client that the server counts or logs.
    fn h2_event(&self, event: H2Event);
}
