//! One connection, from the accepted stream to its last response.

use std::pin::pin;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tracing::debug;

use super::deadline::Watched;
use super::server::Server;
use super::service;
use crate::net::{Peer, Stream};

/// Serves a connection until its client has enough, breaks off or keeps us waiting, or the daemon
/// drains: then the request under way is the last.
pub(super) async fn serve(server: Arc<Server>, stream: Stream, peer: Peer) {
    let (stream, progress) = Watched::new(stream, server.settings.deadlines);
    let settings = &server.settings;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Our own deadlines bound the head: see `deadline`.
        .header_read_timeout(None)
        .max_header_size(settings.head_size)
        // Not `pipeline_flush`: hyper then keeps an answer back while it holds a byte of what comes
        // next, be it half a request or the nonsense that the answer refuses.
        .max_buf_size(settings.head_size.max(MIN_BUFFER));
    if settings.fields != HYPER_FIELDS {
        builder.max_headers(settings.fields);
    }
    let respond = |request| service::respond(&server, &peer, &progress, request);
    let connection = builder.serve_connection(TokioIo::new(stream), service_fn(respond));
    let mut connection = pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = server.gate.draining() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        // The client's doing, or already told by the job that failed.
        debug!("connection from {}: {error}", peer.remote());
    }
}

/// The smallest buffer hyper works with.
const MIN_BUFFER: usize = 8192;

/// hyper's own limit of fields, which it keeps on the stack.
const HYPER_FIELDS: usize = 100;
