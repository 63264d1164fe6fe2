//! The accept loop of one listener.

use std::pin::pin;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::info;

use super::{connection, proxy_protocol, tls};
use crate::http::context::{Accepted, Settings};
use crate::http::limits::connections::ConnectionPermit;
use crate::http::limits::handshakes::HandshakeSlot;
use crate::http::request::panic::told;
use crate::http::service::Service;
use crate::http::timeouts::ACCEPT_DRAIN;
use crate::http::wire::client_memory::estimate;
use crate::net::{DrainSignal, Handout, Listener, Peer, Stream, Tls};

/// The accept loop of a listener, whatever service answers its requests.
pub trait AcceptLoop: Send + Sync {
    /// Waits for the gate, then accepts connections until the listener closes, then waits for the open ones.
    /// Dropping the future ends them all.
    fn run(self: Arc<Self>, post: Handout) -> BoxFuture<'static, ()>;
}

impl<S: Service> AcceptLoop for S {
    fn run(self: Arc<Self>, post: Handout) -> BoxFuture<'static, ()> {
        Box::pin(run(self, post))
    }
}

async fn run<S: Service>(service: Arc<S>, post: Handout) {
    let Handout { listener, leaving } = post;
    tokio::select! {
        opened = service.server().gate.opened() => if opened.is_err() { return },
        () = leaving.closed() => return,
    }
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => take(&service, accepted, (&listener, &leaving), &mut connections).await,
            Some(ended) = connections.join_next() => told(ended),
            () = leaving.closed() => break,
        }
    }
    // Connections in the kernel's queue would be reset with the socket.
    let due = Instant::now() + ACCEPT_DRAIN;
    while listener.has_waiting() && Instant::now() < due {
        let Ok(accepted) = timeout_at(due, listener.accept()).await else { break };
        take(&service, accepted, (&listener, &leaving), &mut connections).await;
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
async fn take<S: Service>(
    service: &Arc<S>,
    (stream, peer): (Stream, Peer),
    (listener, leaving): (&Listener, &DrainSignal),
    connections: &mut JoinSet<()>,
) {
    let server = service.server();
    // The connections of a proxy are those of many clients, so it has no share of one address.
    let origin = peer.origin().filter(|_| !is_proxy(&**service, &server.settings.load(), &peer));
    let Some(seat) = server.connections.seat(&peer, origin, leaving).await else { return };
    let settings = server.settings.load_full();
    let tls = settings.tls.clone().filter(|tls| service.takes_tls() && tls.covers(listener));
    // Taken here, so that handshake slots go in the order of the connections.
    let tls = tls.map(|tls| (tls, server.handshakes.begin(origin, settings.handshakes)));
    let opening = match service.has_proxies() && settings.proxy_protocol.contains(listener.endpoint()) {
        true => Opening::ProxyHeader,
        false => Opening::Client,
    };
    let accepted = Accepted { service: service.clone(), settings, peer, leaving: leaving.clone() };
    connections.spawn(attend(seat, accepted, (stream, opening), tls));
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// Those of the client.
    Client,
    /// A header of the PROXY protocol.
    ProxyHeader,
}

/// Reports whether a connection comes from a trusted proxy.
fn is_proxy(service: &impl Service, settings: &Settings, peer: &Peer) -> bool {
    let trusted = settings.trusted_proxies.as_ref().filter(|_| service.has_proxies());
    trusted.is_some_and(|trusted| trusted.contains(peer.address()))
}

/// Serves a connection to its end.
async fn attend<S: Service>(
    mut seat: ConnectionPermit,
    mut accepted: Accepted<S>,
    (mut stream, opening): (Stream, Opening),
    tls: Option<(Arc<Tls>, HandshakeSlot)>,
) {
    let _present = accepted.service.server().activity.enter();
    let progress = seat.progress.clone();
    let connection = pin!(async move {
        if opening == Opening::ProxyHeader {
            // Boxed, so that other connections stay small.
            let Some(peer) = Box::pin(proxy_protocol::peer(&accepted, &mut stream)).await else { return };
            accepted.peer = peer;
        }
        let Some((tls, turn)) = tls else { return connection::serve(accepted, stream, progress).await };
        let _held = progress.memory.charge(estimate::TLS);
        // Boxed, so that connections without TLS stay small.
        let secured = Box::pin(tls::secure(&tls, &accepted, turn, stream)).await;
        if let Some((stream, secured)) = secured {
            let peer = accepted.peer.clone().over_tls(secured);
            connection::serve(Accepted { peer, ..accepted }, stream, progress).await;
        }
    });
    seat.serve(connection).await;
}
