//! The version of HTTP that a peer speaks.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Which HTTP a peer speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::http) enum HttpVersion {
    /// HTTP/1.1, HTTP/1.0, or invalid bytes.
    One,
    /// HTTP/2, whether TLS negotiated it or the client has prior knowledge.
    Two,
}

/// The first bytes of an HTTP/2 client (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The size of the first read, in bytes. Most heads are shorter.
const FIRST_READ: usize = 1024;

/// Reads until the peer's version is known. Returns it with all bytes that were read.
///
/// # Errors
/// The peer has gone, or the stream has failed.
///
/// # Cancel safety
/// Bytes that were read are lost.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(HttpVersion, BytesMut)> {
    let mut begun = BytesMut::with_capacity(FIRST_READ);
    loop {
        if stream.read_buf(&mut begun).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let compared = begun.len().min(PREFACE.len());
        if begun[..compared] != PREFACE[..compared] {
            return Ok((HttpVersion::One, begun));
        }
        if compared == PREFACE.len() {
            return Ok((HttpVersion::Two, begun));
        }
    }
}
