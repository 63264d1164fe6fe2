//! The accept loop of one listener.

use std::pin::pin;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::info;

use super::accepted::Accepted;
use super::connection;
use super::tls::Handshaker;
use crate::http::context::{Purpose, Server};
use crate::http::limits::connections::ConnectionPermit;
use crate::http::limits::handshakes::HandshakeSlot;
use crate::http::request::panic::told;
use crate::http::timeouts::ACCEPT_DRAIN;
use crate::net::{DrainSignal, Handout, Listener, Peer, Stream, Tls};

impl Server {
    /// Waits for the gate, then accepts connections until the listener closes, then waits for the open ones.
    /// Dropping the future ends them all.
    pub async fn run(self: Arc<Self>, post: Handout) {
        let Handout { listener, leaving } = post;
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
        // Connections in the kernel's queue would be reset with the socket.
        let due = Instant::now() + ACCEPT_DRAIN;
        while listener.has_waiting() && Instant::now() < due {
            let Ok(accepted) = timeout_at(due, listener.accept()).await else { break };
            self.take(accepted, &listener, &leaving, &mut connections).await;
        }
        // From here on, new connections are refused by the kernel and do not hang in its queue.
        let name = listener.local().to_owned();
        drop(listener);
        info!("{name}: closed, {} connections left", connections.len());
        while let Some(ended) = connections.join_next().await {
            told(ended);
        }
    }

    /// Starts to serve a connection, once there is room for it. Until then, later ones wait in the kernel.
    async fn take(
        self: &Arc<Self>,
        (stream, peer): (Stream, Peer),
        listener: &Listener,
        leaving: &DrainSignal,
        connections: &mut JoinSet<()>,
    ) {
        let Some(seat) = self.connections.seat(&peer, leaving).await else { return };
        let settings = self.settings.load_full();
        // Observers, such as a kubelet, have no certificate, and they are shown no secret.
        let is_in_clear = matches!(self.purpose, Purpose::Observe(_));
        let tls = settings.tls.clone().filter(|tls| !is_in_clear && tls.covers(listener));
        // Taken here, so that handshake slots go in the order of the connections.
        let tls = tls.map(|tls| (tls, self.handshakes.begin(peer.origin(), settings.handshakes)));
        let accepted = Accepted { server: self.clone(), settings, peer, leaving: leaving.clone() };
        connections.spawn(attend(seat, accepted, stream, tls));
    }
}

/// Serves a connection to its end.
async fn attend(
    mut seat: ConnectionPermit,
    accepted: Accepted,
    stream: Stream,
    tls: Option<(Arc<Tls>, HandshakeSlot)>,
) {
    let _present = accepted.server.activity.enter();
    let progress = seat.progress.clone();
    let connection = pin!(async move {
        let Some((tls, turn)) = tls else { return connection::serve(accepted, stream, progress).await };
        // Boxed, so that connections without TLS stay small.
        let secured = Box::pin(Handshaker { tls: &tls, accepted: &accepted }.secure(turn, stream)).await;
        if let Some((stream, secured)) = secured {
            let peer = accepted.peer.clone().over_tls(secured);
            connection::serve(Accepted { peer, ..accepted }, stream, progress).await;
        }
    });
    seat.serve(connection).await;
}
