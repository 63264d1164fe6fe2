//! What a good client asks all the time, and what it must be answered.

/// A request and the body of the response to it.
pub(crate) struct Exchange {
    /// The request as it is sent.
    pub(crate) request: Vec<u8>,
    /// The body that a response must have; its status must be 200.
    pub(crate) body: Vec<u8>,
}

impl Exchange {
    /// Asks for a path with GET.
    pub(crate) fn get(path: &str, body: &str) -> Exchange {
        Exchange {
            request: format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into(),
            body: body.into(),
        }
    }
}
