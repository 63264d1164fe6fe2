//! A connection that has left HTTP, and the job that goes on with it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::job_ends::{Ended, Ends};
use super::websocket::handshake::Agreed;
use super::{tcp, websocket};
use crate::catalog::Upgrade;
use crate::http::refusal::Refusal;
use crate::http::request::access_log::Exchange;
use crate::http::request::response_body::Body;
use crate::http::request::upgrade_fields;
use crate::http::wire::progress::Progress;
use crate::job::Fault;
use crate::net::Leaving;

/// What a connection goes on with once its last response is written: nothing, or a job.
#[derive(Default)]
pub(in crate::http) struct Switched(Mutex<Option<Tunnel>>);

/// A job that has a connection to itself.
pub(in crate::http) struct Tunnel {
    pub(super) upgrade: Upgrade,
    /// What a WebSocket's handshake has come to.
    pub(super) agreed: Option<Agreed>,
    /// Becomes the connection when the 101 is written.
    pub(super) connection: OnUpgrade,
    pub(super) job: Ends,
    /// The request that has led here; none until its response is made.
    pub(super) exchange: Option<Exchange>,
}

impl Switched {
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

    /// Keeps the exchange, which lasts as long as the job.
    pub(in crate::http) fn keep(&self, exchange: Exchange) {
        if let Some(tunnel) = &mut *self.lock() {
            tunnel.exchange = Some(exchange);
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
        let Tunnel { upgrade, connection, job, exchange, .. } = self;
        let mut exchange = exchange?;
        // Not there: the client left before it was told.
        let connection = connection.await.ok()?;
        let last_words = job.last_words.clone();
        progress.tunnels(job.stop.clone());
        let ended = match upgrade {
            Upgrade::Tcp => tcp::carry(TokioIo::new(connection), job, progress, &mut exchange).await,
            Upgrade::WebSocket(websocket) => {
                let connection = TokioIo::new(connection);
                websocket::carry(connection, &websocket, job, &mut exchange, leaving).await
            }
        };
        match ended {
            Ended::Job(Ok(status)) if status.is_ok() => exchange.complete(),
            Ended::Job(Ok(status)) => {
                exchange.broke_off(&Fault::Exited { status, last_line: last_words.last_line() });
            }
            Ended::Job(Err(fault)) => exchange.broke_off(&fault),
            Ended::Client(error) => tracing::debug!("an upgraded connection: {error}"),
            Ended::Flood => {
                exchange.refused(&Refusal::Flood);
                return Some(Refusal::Flood);
            }
        }
        None
    }
}
