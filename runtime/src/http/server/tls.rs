//! What comes before the first request of an encrypted connection.

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Duration, Instant, sleep, timeout, timeout_at};
use tracing::debug;

use super::accepted::Accepted;
use crate::http::context::Settings;
use crate::http::limits::handshakes::{End, Turn};
use crate::http::refusal::Refusal;
use crate::http::wire::report::Report as _;
use crate::net::{FailureKind, HandshakeError, Secured, Stream, Tls};

/// How long a handshake may go on once its listener is let go of: it is answered, if it is all but done.
const LAST: Duration = Duration::from_secs(2);

/// What a handshake stands on.
pub(in crate::http) struct Ground<'a> {
    pub(in crate::http) tls: &'a Tls,
    pub(in crate::http) accepted: &'a Accepted,
}

impl Ground<'_> {
    /// Makes a connection an encrypted one; none: the client does not speak TLS, will not agree, takes too long
    /// or was pushed out.
    pub(in crate::http) async fn secure(&self, mut turn: Turn, stream: Stream) -> Option<(Stream, Secured)> {
        let Accepted { settings, peer, .. } = self.accepted;
        let (end, refusal) = tokio::select! {
            // First: one that is complete counts.
            biased;
            outcome = self.within_time(stream) => match outcome {
                Ok(secured) => {
                    turn.end(End::Complete);
                    return Some(secured);
                }
                Err(refusal) => refusal,
            },
            () = turn.pushed_out() => {
                (End::PushedOut, format!("more than {} handshakes at once", settings.handshakes))
            }
            () = self.last() => (End::Closed, "the listener is closed".to_owned()),
        };
        turn.end(end);
        // The client's doing; an operator who looks for a reason asks for it.
        debug!("connection from {}: no TLS: {refusal}", peer.remote());
        None
    }

    async fn within_time(&self, stream: Stream) -> Result<(Stream, Secured), (End, String)> {
        let Settings { deadlines, handshake, .. } = &*self.accepted.settings;
        let end = Instant::now() + *handshake;
        match timeout(deadlines.first_byte.min(*handshake), stream.begun()).await {
            Ok(begun) => begun.map_err(|error| (End::Failed(FailureKind::Left), error.to_string()))?,
            Err(_) => return Err((End::Late, format!("not a byte within {:?}", deadlines.first_byte))),
        }
        match timeout_at(end, self.tls.handshake(stream)).await {
            Ok(Ok(secured)) => Ok(secured),
            Ok(Err(HandshakeError::Failed(kind, error))) => Err((End::Failed(kind), error.to_string())),
            Ok(Err(HandshakeError::NotTls(mut stream))) => {
                // Told in HTTP, which a browser shows. It fits into the socket's buffer; whoever speaks
                // something else does not care.
                let told = self.accepted.turn_away(Refusal::NotTls, "-");
                let _told = timeout_at(end, stream.write_all(&told)).await;
                let _shut = stream.shutdown().await;
                Err((End::NotTls, "the client speaks something else".to_owned()))
            }
            Err(_) => Err((End::Late, format!("not complete within {handshake:?}"))),
        }
    }

    async fn last(&self) {
        self.accepted.leaving.closed().await;
        sleep(LAST).await;
    }
}
