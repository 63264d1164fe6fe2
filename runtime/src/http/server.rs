//! The accept loop of one listener.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info};

use super::activity::Activity;
use super::connection::{self, Accepted};
use super::crowd::{Crowd, Seat};
use super::deadline::Deadlines;
use super::error::Details;
use super::handshakes::{Handshakes, Turn};
use super::observe::Observed;
use super::places::Places;
use super::refused::Refused;
use super::secure::Ground;
use crate::engine::Engine;
use crate::net::{Gate, Leaving, Listener, Peer, Post, Stream, Tls};
use crate::scratch::Scratch;

/// What every listener shares.
pub struct Server {
    /// Where jobs are made and run.
    pub engine: Arc<Engine>,
    /// What must be open before anything is accepted.
    pub gate: Gate,
    /// The bounds of connections and heads. A connection pins them as a request pins its catalog.
    pub settings: Arc<ArcSwap<Settings>>,
    /// Those of all listeners.
    pub connections: Arc<Crowd>,
    /// Counts them.
    pub activity: Activity,
    /// The TLS handshakes that are under way.
    pub handshakes: Arc<Handshakes>,
    /// Counts the requests to handlers that were refused; the daemon's own listener shows them.
    pub refused: Arc<Refused>,
    /// Where bodies are kept that do not fit into memory; `None`: nowhere.
    pub scratch: Option<Arc<Scratch>>,
    /// What its requests are for.
    pub purpose: Purpose,
}

/// What the requests of a listener are for.
pub enum Purpose {
    /// The handlers, by the routes of the catalog.
    Handlers,
    /// The daemon itself, by the names of jobs.
    Admin {
        /// What operators ask about.
        observed: Observed,
        /// For requests that last.
        places: Places,
    },
    /// Metrics and health checks; nothing can be changed here.
    Observe(Observed),
}

/// How long connections are taken out of the kernel's queue after the end has begun: new ones may join it as fast.
const BACKLOG: Duration = Duration::from_millis(200);

/// The bounds of connections and heads. Sizes are in bytes.
#[derive(Clone)]
pub struct Settings {
    /// How long a peer may keep a connection waiting.
    pub deadlines: Deadlines,
    /// How long a peer may keep a job waiting for the next byte of a body.
    pub body_idle: Duration,
    /// The largest request head.
    pub head_size: usize,
    /// The longest request target.
    pub target_size: usize,
    /// The most header fields.
    pub fields: usize,
    /// Whether clients are told what is for the operator.
    pub details: Details,
    /// Whether operators are shown what computes.
    pub profiler: bool,
    /// Whether every exchange is logged.
    pub access_log: bool,
    /// How long a connection that is to leave waits for a request that may be on its way.
    pub linger: Duration,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How many may be under way.
    pub handshakes: usize,
    /// What encrypts connections; none: nothing does.
    pub tls: Option<Arc<Tls>>,
}

impl Server {
    /// Waits for the gate, then accepts connections until they are to leave, then waits for those
    /// that are under way. Dropping the future ends them all.
    pub async fn run(self: Arc<Self>, post: Post) {
        let Post { listener, leaving } = post;
        tokio::select! {
            opened = self.gate.opened() => if opened.is_err() { return },
            () = leaving.closed() => return,
        }
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => self.take(accepted, &listener, &leaving, &mut connections).await,
                Some(ended) = connections.join_next() => told(ended),
                () = leaving.closed() => break,
            }
        }
        // Those that the kernel has accepted for us would be reset with the socket.
        let due = Instant::now() + BACKLOG;
        while listener.has_waiting() && Instant::now() < due {
            let Ok(accepted) = timeout_at(due, listener.accept()).await else { break };
            self.take(accepted, &listener, &leaving, &mut connections).await;
        }
        // From here on connecting is refused, not left waiting for nobody.
        let name = listener.local().to_owned();
        drop(listener);
        info!("{name}: closed, {} connections left", connections.len());
        while let Some(ended) = connections.join_next().await {
            told(ended);
        }
    }

    /// Has a connection served, once there is room for it. While there is none, those behind it wait in the kernel.
    async fn take(
        self: &Arc<Self>,
        (stream, peer): (Stream, Peer),
        listener: &Listener,
        leaving: &Leaving,
        connections: &mut JoinSet<()>,
    ) {
        let Some(seat) = self.connections.seat(&peer, leaving).await else { return };
        let settings = self.settings.load_full();
        // What looks on, such as a kubelet, has no certificate, and is shown no secret.
        let is_in_clear = matches!(self.purpose, Purpose::Observe(_));
        let tls = settings.tls.clone().filter(|tls| !is_in_clear && tls.covers(listener));
        // Here, so that places are taken in the order of the connections.
        let tls = tls.map(|tls| (tls, self.handshakes.begin(settings.handshakes)));
        let accepted = Accepted { server: self.clone(), settings, peer, leaving: leaving.clone() };
        connections.spawn(attend(seat, accepted, stream, tls));
    }
}

/// Serves a connection to its end.
async fn attend(mut seat: Seat, accepted: Accepted, stream: Stream, tls: Option<(Arc<Tls>, Turn)>) {
    let _present = accepted.server.activity.enter();
    let progress = seat.progress.clone();
    let connection = pin!(async move {
        let Some((tls, turn)) = tls else { return connection::serve(accepted, stream, progress).await };
        // Boxed: a connection in clear need not be as large as a handshake.
        let secured = Box::pin(Ground { tls: &tls, accepted: &accepted }.secure(turn, stream)).await;
        if let Some((stream, secured)) = secured {
            let peer = accepted.peer.clone().over_tls(secured);
            connection::serve(Accepted { peer, ..accepted }, stream, progress).await;
        }
    });
    seat.serve(connection).await;
}

/// A connection that panicked is our bug, and nobody else's problem.
pub(super) fn told(ended: Result<(), tokio::task::JoinError>) {
    if let Err(failure) = ended {
        error!("a connection failed: {failure}");
    }
}
