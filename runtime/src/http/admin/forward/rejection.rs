//! Why a request is not forwarded.

use http::StatusCode;

/// Why a request is not forwarded: the status and the text of the response.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Rejection {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl Rejection {
    /// Makes a rejection.
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Rejection {
        Rejection { status, message: message.into() }
    }
}
