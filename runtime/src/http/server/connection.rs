//! Serves one accepted connection in the version of HTTP that it speaks.

use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use tracing::debug;

use super::{h1, h2};
use crate::http::context::Accepted;
use crate::http::refusal::Refusal;
use crate::http::service::Service;
use crate::http::wire::deadline_io::DeadlineIo;
use crate::http::wire::guarded_io::GuardedIo;
use crate::http::wire::progress::Progress;
use crate::http::wire::report::ConnectionReport as _;
use crate::http::wire::version::HttpVersion;
use crate::net::{Protocol, Stream};

/// Serves a connection until its client closes it, breaks off or misses a deadline, or until it has
/// to drain: then the requests in progress are the last.
pub(in crate::http) async fn serve<S: Service>(accepted: Accepted<S>, stream: Stream, progress: Progress) {
    let spoken = stream.protocol();
    let deadlines = accepted.settings.deadlines;
    let accepted = Arc::new(accepted);
    let io = DeadlineIo::new(stream, progress, deadlines, Stream::has_left)
        .resetting(Stream::reset)
        .measuring(Stream::unsent);
    // Boxed: each future that it moves through would have room for it until the connection ends.
    let mut stream = Box::new(GuardedIo::new(io, accepted.clone()));
    let version = tokio::select! {
        biased;
        version = stream.version() => version,
        () = accepted.lingered() => Err(std::io::ErrorKind::TimedOut.into()),
    };
    match version {
        // Over TLS, the negotiated protocol applies, and HTTP/1.1 if none was negotiated (RFC 9113
        // §3.2).
        Ok(HttpVersion::One) if spoken == Some(Protocol::Http2) => {
            accepted.drop_connection(&Refusal::Version, &"HTTP/1 where HTTP/2 was agreed on");
        }
        Ok(HttpVersion::Two) if spoken != Some(Protocol::Http2) && accepted.peer.secured().is_some() => {
            // `h1` refuses the HTTP/2 preface as a request with an unknown version.
            h1::serve(accepted, stream).await;
        }
        Ok(HttpVersion::One) => h1::serve(accepted, stream).await,
        // Boxed, so that HTTP/1 connections stay small.
        Ok(HttpVersion::Two) => Box::pin(h2::serve(accepted, stream)).await,
        Err(error) => {
            debug!("connection from {}: {error}", accepted.peer.remote());
            // TLS announces the end with an alert. A client that does not take it is not waited
            // for.
            let _told = timeout(accepted.settings.linger, stream.shutdown()).await;
        }
    }
}
