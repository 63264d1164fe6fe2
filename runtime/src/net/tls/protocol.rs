//! The application protocols negotiated by ALPN during the TLS handshake (RFC 7301).

/// A protocol that client and server agree on during the handshake (ALPN, RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0, for clients that offer nothing newer.
    Http10,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 (RFC 9113 §3.2).
    Http2,
}

impl Protocol {
    /// The protocols to offer, the preferred one first.
    pub(super) const OFFERED: [Protocol; 3] = [Protocol::Http2, Protocol::Http1, Protocol::Http10];

    /// Returns the name of the protocol in the negotiation.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Http10 => "http/1.0",
            Protocol::Http1 => "http/1.1",
            Protocol::Http2 => "h2",
        }
    }

    /// Finds a protocol by its name.
    pub(in crate::net) fn named(name: &[u8]) -> Option<Protocol> {
        Protocol::OFFERED.into_iter().find(|protocol| protocol.name().as_bytes() == name)
    }
}
