//! The version of HTTP that a peer speaks.

/// Which HTTP a peer speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::http) enum HttpVersion {
    /// HTTP/1.1, HTTP/1.0, or invalid bytes.
    One,
    /// HTTP/2, whether TLS negotiated it or the client has prior knowledge.
    Two,
}
