//! One connection, from the accepted stream to the last response.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::deadline::Progress;
use super::error::Refusal;
use super::framing::Bounds;
use super::inspected::{Inspected, Version};
use super::server::{Purpose, Server, Settings};
use super::service::{self, Line};
use super::upgrade::Switched;
use super::watched::Watched;
use super::{admin, multiplexed, observe};
use crate::net::{Leaving, Peer, Protocol, Stream};

/// A connection that was accepted, and what it is served with.
pub(super) struct Accepted {
    pub(super) server: Arc<Server>,
    /// Pinned: a reload changes nothing for a connection that is open.
    pub(super) settings: Arc<Settings>,
    pub(super) peer: Peer,
    /// Begins when the connection is to leave.
    pub(super) leaving: Leaving,
}

/// Serves a connection until its client has enough, breaks off or keeps us waiting, or it is to
/// leave: then the requests under way are the last.
pub(super) async fn serve(accepted: Accepted, stream: Stream, progress: Progress) {
    let spoken = stream.protocol();
    let deadlines = accepted.settings.deadlines;
    let accepted = Arc::new(accepted);
    let watched = Watched::new(stream, progress, deadlines, Stream::has_left)
        .resetting(Stream::reset)
        .measuring(Stream::unsent);
    let mut stream = Inspected::new(watched, accepted.clone());
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
            accepted.cut_off(&Refusal::Version, "HTTP/1 where HTTP/2 was agreed on");
        }
        Ok(Version::Two) if spoken != Some(Protocol::Http2) && accepted.peer.secured().is_some() => {
            // Where its preface is a request of a version that is none of HTTP/1.
            serve_one_by_one(accepted, stream).await;
        }
        Ok(Version::One) => serve_one_by_one(accepted, stream).await,
        // Boxed: a connection of HTTP/1 need not be as large.
        Ok(Version::Two) => Box::pin(multiplexed::serve(accepted, stream)).await,
        Err(error) => {
            debug!("connection from {}: {error}", accepted.peer.remote());
            // Over TLS the end is told; a client that does not hear it is not waited for.
            let _told = timeout(accepted.settings.linger, stream.shutdown()).await;
        }
    }
}

/// Serves a connection of HTTP/1: one request after the other.
async fn serve_one_by_one(accepted: Arc<Accepted>, mut stream: Inspected<Stream>) {
    let Accepted { server, settings, peer, leaving } = &*accepted;
    let progress = stream.progress().clone();
    let Settings { head_size: head, target_size: target, fields, .. } = **settings;
    stream.expect_requests(Bounds { head, target, fields, is_local: peer.origin().is_none() });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Our own deadlines and sizes bound the head: see `deadline` and `framing`.
        .header_read_timeout(None)
        // Not `pipeline_flush`: hyper then keeps an answer back while it holds a byte of what comes
        // next, be it half a request or the nonsense that the answer refuses.
        // Room for more than a head, so that one that is too large is seen by us before hyper is full.
        .max_buf_size(settings.head_size + MIN_BUFFER);
    if settings.fields != HYPER_FIELDS {
        builder.max_headers(settings.fields);
    }
    let switched = Switched::default();
    let line = Line { settings, peer, progress: &progress, switched: &switched };
    let respond = |request| async {
        match &server.purpose {
            Purpose::Handlers => service::respond(server, line, request).await,
            // Boxed: a request to a handler need not be as large as one to the daemon.
            Purpose::Admin { observed, places } => {
                let door = admin::Door { server, settings, observed, places, peer };
                Box::pin(admin::respond(door, &progress, request)).await
            }
            Purpose::Observe(observed) => {
                Box::pin(observe::respond(server, settings, observed, &progress, request)).await
            }
        }
    };
    let connection = builder.serve_connection(TokioIo::new(stream), service_fn(respond)).with_upgrades();
    let mut connection = pin!(connection);
    if leaving.has_begun() {
        progress.leave();
    }
    let outcome = tokio::select! {
        // First: a request that has arrived is answered.
        biased;
        outcome = connection.as_mut() => outcome,
        () = leaving.begun() => {
            progress.leave();
            // Every answer says that it is the last; a client that is busy leaves by itself.
            match timeout(settings.linger, connection.as_mut()).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        biased;
                        outcome = connection.as_mut() => outcome,
                        () = silence(&progress, settings.linger) => Ok(()),
                    }
                }
            }
        }
    };
    match outcome {
        Ok(()) => {
            if let Some(refusal) = switched.run(&progress, leaving).await {
                server.refused(&refusal);
            }
        }
        // The client's doing, or already told by the job that failed.
        Err(error) => debug!("connection from {}: {error}", peer.remote()),
    }
}

/// Waits for `linger`, and then for ever if a request has begun to arrive: hyper lets a new
/// connection be that never sent one.
async fn silence(progress: &Progress, linger: Duration) {
    sleep(linger).await;
    if !progress.is_idle() {
        std::future::pending().await
    }
}

/// The smallest buffer hyper works with.
const MIN_BUFFER: usize = 8192;

/// hyper's own limit of fields, which it keeps on the stack.
const HYPER_FIELDS: usize = 100;
