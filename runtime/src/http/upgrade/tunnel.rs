//! An upgraded connection, and the job that takes it over.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::job_streams::{JobStreams, TunnelEnd};
use super::websocket::handshake::Agreement;
use super::{tcp, websocket};
use crate::catalog::Upgrade;
use crate::http::refusal::Refusal;
use crate::http::request::request_log::RequestLog;
use crate::http::request::response_body::Body;
use crate::http::request::upgrade_fields;
use crate::http::wire::progress::Progress;
use crate::net::DrainSignal;

/// The job that takes over the connection once its last response is written, or none. Boxed: every connection has room
/// for it.
#[derive(Default)]
pub(in crate::http) struct PendingUpgrade(Mutex<Option<Box<Tunnel>>>);

/// A job with a connection of its own.
pub(in crate::http) struct Tunnel {
    pub(super) upgrade: Upgrade,
    /// The result of a WebSocket handshake.
    pub(super) agreed: Option<Agreement>,
    /// Resolves to the connection once the 101 is written.
    pub(super) connection: OnUpgrade,
    pub(super) streams: JobStreams,
    /// The log of the request that asked for the upgrade. `None` until its response is made.
    pub(super) log: Option<Box<RequestLog>>,
}

impl PendingUpgrade {
    /// Stores the job, and makes the response that ends HTTP on this connection.
    pub(in crate::http) fn offer(&self, tunnel: Tunnel) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().extend(upgrade_fields::of(tunnel.upgrade.protocol()));
        if let Some(agreed) = &tunnel.agreed {
            agreed.tell(response.headers_mut());
        }
        *self.lock() = Some(Box::new(tunnel));
        response
    }

    /// Keeps the request log until the job has ended.
    pub(in crate::http) fn keep(&self, log: Box<RequestLog>) {
        if let Some(tunnel) = &mut *self.lock() {
            tunnel.log = Some(log);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Tunnel>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the job, if there is one, until it or the client ends the connection. Returns the
    /// refusal if the client is refused.
    ///
    /// # Cancel safety
    /// Dropping the future ends the job.
    pub(in crate::http) async fn run(&self, progress: &Progress, leaving: &DrainSignal) -> Option<Refusal> {
        let tunnel = self.lock().take();
        // HTTP's deadlines end with HTTP. A client that does not read is still bounded by the write
        // deadline.
        let tunnel = tunnel.inspect(|_| progress.switched())?;
        // Boxed, so that connections that stay with HTTP are smaller.
        Box::pin(tunnel.run(progress, leaving)).await
    }
}

impl Tunnel {
    async fn run(self, progress: &Progress, leaving: &DrainSignal) -> Option<Refusal> {
        let Tunnel { upgrade, connection, streams, log, .. } = self;
        let mut log = log?;
        // Fails if the client left before the 101 was written.
        let connection = connection.await.ok()?;
        let stderr_tail = streams.job.log.stderr_tail.clone();
        progress.tunnels(streams.job.log.stop.clone());
        let ended = match upgrade {
            Upgrade::Tcp => tcp::carry(TokioIo::new(connection), streams, progress, &mut log).await,
            Upgrade::WebSocket(websocket) => {
                let connection = TokioIo::new(connection);
                websocket::carry(connection, &websocket, streams, &mut log, leaving).await
            }
        };
        match ended {
            TunnelEnd::Job(outcome) => match stderr_tail.check(outcome) {
                Ok(()) => log.complete(),
                Err(fault) => log.broke_off(&fault),
            },
            TunnelEnd::Client(error) => tracing::debug!("an upgraded connection: {error}"),
            TunnelEnd::Flood => {
                log.refused(&Refusal::Flood);
                return Some(Refusal::Flood);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_stays_with_http_has_little_room_for_a_tunnel() {
        assert!(size_of::<PendingUpgrade>() <= 32, "{}", size_of::<PendingUpgrade>());
    }
}
