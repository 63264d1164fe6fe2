//! Serves an HTTP/1 connection, from the checked stream to the last response.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::accepted::Accepted;
use crate::http::admin::{api, observe};
use crate::http::context::{Purpose, Settings};
use crate::http::handlers::{self, ConnContext};
use crate::http::upgrade::tunnel::PendingUpgrade;
use crate::http::wire::guarded_io::GuardedIo;
use crate::http::wire::h1::head::HeadLimits;
use crate::http::wire::progress::Progress;
use crate::net::Stream;

/// Serves an HTTP/1 connection, one request after the other.
pub(super) async fn serve(accepted: Arc<Accepted>, mut stream: GuardedIo<Stream>) {
    let Accepted { server, settings, peer, leaving } = &*accepted;
    let progress = stream.progress().clone();
    let Settings { head_size: head, target_size: target, fields, .. } = **settings;
    stream.expect_requests(HeadLimits { head, target, fields, is_local: peer.origin().is_none() });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Our own deadlines and sizes bound the head: see `wire::deadline_io` and `wire::h1`.
        .header_read_timeout(None)
        // Not `pipeline_flush`: hyper would then hold a response back while it has a byte of the next
        // request, even of half a request or of the invalid bytes that the response refuses.
        // The buffer exceeds the head limit, so our check fires before hyper's.
        .max_buf_size(settings.head_size + MIN_BUFFER);
    if settings.fields != HYPER_FIELDS {
        builder.max_headers(settings.fields);
    }
    let switched = PendingUpgrade::default();
    let line = ConnContext { settings, peer, progress: &progress, switched: &switched };
    let respond = |request| async {
        match &server.purpose {
            Purpose::Handlers => handlers::respond(server, line, request).await,
            // Boxed, so that requests to handlers stay small.
            Purpose::Admin { observed, places } => {
                let door = api::AdminContext { server, settings, observed, places, peer };
                Box::pin(api::respond(door, &progress, request)).await
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
        // Polled first, so that a request that has arrived is answered.
        biased;
        outcome = connection.as_mut() => outcome,
        () = leaving.begun() => {
            progress.leave();
            // Every response says that it is the last. A busy client leaves by itself.
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
        // The client's fault, or already reported by the job that failed.
        Err(error) => debug!("connection from {}: {error}", peer.remote()),
    }
}

/// Waits for `linger`, and then for ever if a request has begun to arrive. `graceful_shutdown` does
/// not end a new connection that never sent a request.
async fn silence(progress: &Progress, linger: Duration) {
    sleep(linger).await;
    if !progress.is_idle() {
        std::future::pending().await
    }
}

/// The smallest buffer that hyper accepts.
const MIN_BUFFER: usize = 8192;

/// hyper's default limit of fields; up to it, hyper keeps them on the stack.
const HYPER_FIELDS: usize = 100;
