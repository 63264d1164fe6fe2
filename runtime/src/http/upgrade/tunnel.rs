//! A connection that has left HTTP, and the job that goes on with it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::job_streams::{JobStreams, TunnelEnd};
use super::websocket::handshake::Agreement;
use super::{tcp, websocket};
use crate::catalog::Upgrade;
use crate::http::refusal::Refusal;
use crate::http::request::access_log::RequestLog;
use crate::http::request::response_body::Body;
use crate::http::request::upgrade_fields;
use crate::http::wire::progress::Progress;
use crate::job::Fault;
use crate::net::Leaving;

/// What a connection goes on with once its last response is written: nothing, or a job.
#[derive(Default)]
pub(in crate::http) struct PendingUpgrade(Mutex<Option<Tunnel>>);

/// A job that has a connection to itself.
pub(in crate::http) struct Tunnel {
    pub(super) upgrade: Upgrade,
    /// What a WebSocket's handshake has come to.
    pub(super) agreed: Option<Agreement>,
    /// Becomes the connection when the 101 is written.
    pub(super) connection: OnUpgrade,
    pub(super) job: JobStreams,
    /// The request that has led here; none until its response is made.
    pub(super) log: Option<RequestLog>,
}

impl PendingUpgrade {
    /// Keeps the job, and makes the response that ends HTTP on this connection.
    pub(in crate::http) fn offer(&self, tunnel: Tunnel) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().extend(upgrade_fields::of(tunnel.upgrade.protocol()));
        if let Some(agreed) = &tunnel.agreed {
            agreed.tell(response.headers_mut());
        }
        *self.lock() = Some(tunnel);
        response
    }

    /// Keeps the log of the request until the job has ended.
    pub(in crate::http) fn keep(&self, log: RequestLog) {
        if let Some(tunnel) = &mut *self.lock() {
            tunnel.log = Some(log);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Tunnel>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with the job, if there is one, until it or the client has had enough. Says what the
    /// client is refused for, if it is.
    ///
    /// # Cancel safety
    /// Dropping the future ends the job.
    pub(in crate::http) async fn run(&self, progress: &Progress, leaving: &Leaving) -> Option<Refusal> {
        let tunnel = self.lock().take();
        // HTTP's deadlines end with HTTP; a client that does not read is bounded all the same.
        let tunnel = tunnel.inspect(|_| progress.switched())?;
        // Boxed: a connection that stays with HTTP need not be as large as one that does not.
        Box::pin(tunnel.run(progress, leaving)).await
    }
}

impl Tunnel {
    async fn run(self, progress: &Progress, leaving: &Leaving) -> Option<Refusal> {
        let Tunnel { upgrade, connection, job, log, .. } = self;
        let mut log = log?;
        // Not there: the client left before it was told.
        let connection = connection.await.ok()?;
        let last_words = job.last_words.clone();
        progress.tunnels(job.stop.clone());
        let ended = match upgrade {
            Upgrade::Tcp => tcp::carry(TokioIo::new(connection), job, progress, &mut log).await,
            Upgrade::WebSocket(websocket) => {
                let connection = TokioIo::new(connection);
                websocket::carry(connection, &websocket, job, &mut log, leaving).await
            }
        };
        match ended {
            TunnelEnd::Job(Ok(status)) if status.is_ok() => log.complete(),
            TunnelEnd::Job(Ok(status)) => {
                log.broke_off(&Fault::Exited { status, last_line: last_words.last_line() });
            }
            TunnelEnd::Job(Err(fault)) => log.broke_off(&fault),
            TunnelEnd::Client(error) => tracing::debug!("an upgraded connection: {error}"),
            TunnelEnd::Flood => {
                log.refused(&Refusal::Flood);
                return Some(Refusal::Flood);
            }
        }
        None
    }
}
