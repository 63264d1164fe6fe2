//! What comes before the first request of an encrypted connection.

use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use tracing::debug;

use super::server::Settings;
use crate::net::{HandshakeError, Peer, Stream, Tls};

/// Makes a connection an encrypted one; none: the client does not speak TLS, will not agree or takes
/// too long.
pub(super) async fn perform(
    tls: &Tls,
    settings: &Settings,
    stream: Stream,
    peer: Peer,
) -> Option<(Stream, Peer)> {
    match timeout(settings.handshake, tls.handshake(stream)).await {
        Ok(Ok((stream, secured))) => Some((stream, peer.over_tls(secured))),
        Ok(Err(HandshakeError::NotTls(mut stream))) => {
            debug!("connection from {}: not TLS", peer.remote());
            // It fits into the socket's buffer; whoever speaks something else does not care.
            let _told = timeout(settings.handshake, stream.write_all(IN_CLEAR)).await;
            let _shut = stream.shutdown().await;
            None
        }
        Ok(Err(HandshakeError::Failed(error))) => {
            debug!("connection from {}: TLS: {error}", peer.remote());
            None
        }
        Err(_) => {
            debug!("connection from {}: no TLS handshake within {:?}", peer.remote(), settings.handshake);
            None
        }
    }
}

/// Tells a client that speaks HTTP in clear what it has to do.
const IN_CLEAR: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
    this port speaks TLS: ask for https://\n";
