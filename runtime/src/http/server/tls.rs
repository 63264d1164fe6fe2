//! The TLS handshake of a connection, and its time limits.

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::debug;

use crate::http::context::{Accepted, Settings};
use crate::http::limits::handshakes::{HandshakeEnd, HandshakeSlot};
use crate::http::refusal::Refusal;
use crate::http::service::Service;
use crate::http::timeouts::HANDSHAKE_DRAIN;
use crate::http::wire::report::ConnectionReport as _;
use crate::net::{DrainSignal, FailureKind, HandshakeError, Secured, Stream, Tls};

/// Does the handshake. Returns `None` if the client does not speak TLS, does not agree, takes too long, or
/// loses its slot.
pub(super) async fn secure<S: Service>(
    tls: &Tls,
    accepted: &Accepted<S>,
    mut turn: HandshakeSlot,
    stream: Stream,
) -> Option<(Stream, Secured)> {
    let Accepted { settings, peer, .. } = accepted;
    let (end, refusal) = tokio::select! {
        // Polled first: a complete handshake counts.
        biased;
        outcome = within_time(tls, accepted, stream) => match outcome {
            Ok(secured) => {
                turn.end(HandshakeEnd::Complete);
                return Some(secured);
            }
            Err(refusal) => refusal,
        },
        () = turn.pushed_out() => {
            (HandshakeEnd::PushedOut, format!("more than {} handshakes at once", settings.handshakes))
        }
        () = last(&accepted.leaving) => (HandshakeEnd::Closed, "the listener is closed".to_owned()),
    };
    turn.end(end);
    // The client's fault. An operator who looks for the reason enables the debug log.
    debug!("connection from {}: no TLS: {refusal}", peer.remote());
    None
}

async fn within_time<S: Service>(
    tls: &Tls,
    accepted: &Accepted<S>,
    stream: Stream,
) -> Result<(Stream, Secured), (HandshakeEnd, String)> {
    let Settings { deadlines, handshake, .. } = &*accepted.settings;
    let end = Instant::now() + *handshake;
    match timeout(deadlines.first_byte.min(*handshake), stream.begun()).await {
        Ok(begun) => begun.map_err(|error| (HandshakeEnd::Failed(FailureKind::Left), error.to_string()))?,
        Err(_) => {
            return Err((HandshakeEnd::Late, format!("not a byte within {:?}", deadlines.first_byte)));
        }
    }
    match timeout_at(end, tls.handshake(stream)).await {
        Ok(Ok(secured)) => Ok(secured),
        Ok(Err(HandshakeError::Validation)) => {
            Err((HandshakeEnd::Validation, "a validation by an ACME server".to_owned()))
        }
        Ok(Err(HandshakeError::Failed(kind, error))) => Err((HandshakeEnd::Failed(kind), error.to_string())),
        Ok(Err(HandshakeError::NotTls(mut stream))) => {
            // Sent as plain HTTP, which a browser shows. It fits in the socket's buffer, and a client that
            // speaks another protocol does not care.
            let told = accepted.reject_raw(Refusal::NotTls, "-");
            let _told = timeout_at(end, stream.write_all(&told)).await;
            let _shut = stream.shutdown().await;
            Err((HandshakeEnd::NotTls, "the client speaks something else".to_owned()))
        }
        Err(_) => Err((HandshakeEnd::Late, format!("not complete within {handshake:?}"))),
    }
}

/// Waits until a shutdown has no more time for the handshake.
async fn last(leaving: &DrainSignal) {
    leaving.closed().await;
    sleep(HANDSHAKE_DRAIN).await;
}
