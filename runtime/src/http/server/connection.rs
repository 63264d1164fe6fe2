//! One connection, from the accepted stream to the version of HTTP that it speaks.

use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::accepted::Accepted;
use super::{h1, h2};
use crate::http::refusal::Refusal;
use crate::http::wire::deadline_io::DeadlineIo;
use crate::http::wire::guarded_io::GuardedIo;
use crate::http::wire::progress::Progress;
use crate::http::wire::report::ConnectionReport as _;
use crate::http::wire::version::Version;
use crate::net::{Protocol, Stream};

/// Serves a connection until its client has enough, breaks off or keeps us waiting, or it is to
/// leave: then the requests under way are the last.
pub(in crate::http) async fn serve(accepted: Accepted, stream: Stream, progress: Progress) {
    let spoken = stream.protocol();
    let deadlines = accepted.settings.deadlines;
    let accepted = Arc::new(accepted);
    let watched = DeadlineIo::new(stream, progress, deadlines, Stream::has_left)
        .resetting(Stream::reset)
        .measuring(Stream::unsent);
    let mut stream = GuardedIo::new(watched, accepted.clone());
    let late = async {
        // A request that is on its way is answered.
        accepted.leaving.closed().await;
        sleep(accepted.settings.linger).await;
        Err(std::io::ErrorKind::TimedOut.into())
    };
    let version = tokio::select! {
        biased;
        version = stream.version() => version,
        late = late => late,
    };
    match version {
        // Over TLS, what was agreed on is spoken, and HTTP/1.1 where nothing was (RFC 9113 §3.2).
        Ok(Version::One) if spoken == Some(Protocol::Http2) => {
            accepted.cut_off(&Refusal::Version, &"HTTP/1 where HTTP/2 was agreed on");
        }
        Ok(Version::Two) if spoken != Some(Protocol::Http2) && accepted.peer.secured().is_some() => {
            // Where its preface is a request of a version that is none of HTTP/1.
            h1::serve(accepted, stream).await;
        }
        Ok(Version::One) => h1::serve(accepted, stream).await,
        // Boxed: a connection of HTTP/1 need not be as large.
        Ok(Version::Two) => Box::pin(h2::serve(accepted, stream)).await,
        Err(error) => {
            debug!("connection from {}: {error}", accepted.peer.remote());
            // Over TLS the end is told; a client that does not hear it is not waited for.
            let _told = timeout(accepted.settings.linger, stream.shutdown()).await;
        }
    }
}
