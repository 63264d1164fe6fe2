//! Serves an HTTP/1 connection, from the checked stream to the last response.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::yield_now;
use tokio::time::sleep;
use tracing::debug;

use super::drain;
use crate::http::context::Accepted;
use crate::http::service::{self, Service};
use crate::http::upgrade::tunnel::PendingUpgrade;
use crate::http::wire::guarded_io::GuardedIo;
use crate::http::wire::progress::Progress;
use crate::in_place;
use crate::net::Stream;

/// Serves an HTTP/1 connection, one request after the other.
pub(super) async fn serve<S: Service>(accepted: Arc<Accepted<S>>, mut stream: Box<GuardedIo<Stream>>) {
    let Accepted { service, settings, peer, leaving } = &*accepted;
    let progress = stream.progress().clone();
    stream.expect_requests(settings.head_limits(peer));
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
    let pending = PendingUpgrade::default();
    // Boxed: hyper keeps room for it as long as the connection lasts, and an idle one needs none.
    let respond = |request| in_place::pinned(|| service::respond(&accepted, &progress, &pending, request));
    let connection = builder.serve_connection(TokioIo::new(stream), service_fn(respond)).with_upgrades();
    let mut connection = pin!(connection);
    if leaving.has_begun() {
        progress.departure.writer().leave();
    }
    let leave = async {
        leaving.begun().await;
        progress.departure.writer().leave();
        // The connection is polled again first: a lingering close now has less time.
        yield_now().await;
        // Every response says that it is the last. A busy client leaves by itself.
        sleep(settings.linger).await;
        // hyper would close now, since it does not see a request line that is not complete. The head has its deadline,
        // and its response is the last.
        if progress.is_mid_head() {
            std::future::pending().await
        }
    };
    let silent = silence(&progress, settings.linger);
    let outcome =
        drain::drive(connection.as_mut(), leave, |connection| connection.graceful_shutdown(), silent).await;
    match outcome {
        Ok(()) => {
            if let Some(refusal) = pending.run(&progress, leaving).await {
                service.count_refusal(&refusal);
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
