//! The accept loop of one listener.

use std::net::IpAddr;
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
    fn run(self: Arc<Self>, handout: Handout) -> BoxFuture<'static, ()>;
}

impl<S: Service> AcceptLoop for S {
    fn run(self: Arc<Self>, handout: Handout) -> BoxFuture<'static, ()> {
        Box::pin(run(self, handout))
    }
}

async fn run<S: Service>(service: Arc<S>, handout: Handout) {
    let Handout { listener, leaving } = handout;
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
    let origin = counted_for(&**service, &server.settings.load(), &peer);
    let party = service.party(&peer, origin);
    let Some(permit) = server.connections.acquire(&peer, party, leaving).await else { return };
    let settings = server.settings.load_full();
    let tls = settings.tls.clone().filter(|tls| service.takes_tls() && tls.covers(listener));
    let opening = match service.has_proxies() && settings.proxy_protocol.contains(listener.endpoint()) {
        true => Opening::ProxyHeader,
        false => Opening::Client,
    };
    // Taken here, so that handshake slots go in the order of the connections. Behind a header the client is not known yet.
    let slot = (opening == Opening::Client && tls.is_some())
        .then(|| server.handshakes.begin(origin, settings.handshakes));
    let accepted = Accepted { service: service.clone(), settings, peer, leaving: leaving.clone() };
    connections.spawn(attend(permit, accepted, (stream, opening), tls.map(|tls| (tls, slot))));
}

/// The first bytes of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// The bytes of the client.
    Client,
    /// A header of the PROXY protocol.
    ProxyHeader,
}

/// Returns the address that a connection counts for. `None` for a trusted proxy, and for a client that such a proxy does
/// not name. The connections of a proxy are those of many clients, so the share of one address does not apply.
fn counted_for(service: &impl Service, settings: &Settings, peer: &Peer) -> Option<IpAddr> {
    let trusted = settings.trusted_proxies.as_ref().filter(|_| service.has_proxies());
    let is_proxy = trusted.is_some_and(|trusted| trusted.contains(peer.address()));
    peer.origin().filter(|_| !is_proxy)
}

/// Serves a connection to its end.
async fn attend<S: Service>(
    mut permit: ConnectionPermit,
    mut accepted: Accepted<S>,
    (mut stream, opening): (Stream, Opening),
    tls: Option<(Arc<Tls>, Option<HandshakeSlot>)>,
) {
    let _present = accepted.service.server().activity.enter();
    if opening == Opening::ProxyHeader {
        // Boxed, so that other connections stay small.
        let named = Box::pin(introduce(&mut permit, &accepted, &mut stream)).await;
        let Some(peer) = named else { return };
        accepted.peer = peer;
    }
    let progress = permit.progress.clone();
    let connection = pin!(async move {
        let Some((tls, slot)) = tls else { return connection::serve(accepted, stream, progress).await };
        let turn = slot.unwrap_or_else(|| {
            let Accepted { service, settings, peer, .. } = &accepted;
            let origin = counted_for(&**service, settings, peer);
            service.server().handshakes.begin(origin, settings.handshakes)
        });
        let _held = progress.memory.charge(estimate::TLS);
        // Boxed, so that connections without TLS stay small.
        let secured = Box::pin(tls::secure(&tls, &accepted, turn, stream)).await;
        if let Some((stream, secured)) = secured {
            let peer = accepted.peer.clone().over_tls(secured);
            connection::serve(Accepted { peer, ..accepted }, stream, progress).await;
        }
    });
    permit.serve(connection).await;
}

/// Reads the header of the PROXY protocol, and counts the connection for the client that it names. Returns `None` if the
/// connection is to be closed.
async fn introduce<S: Service>(
    permit: &mut ConnectionPermit,
    accepted: &Accepted<S>,
    stream: &mut Stream,
) -> Option<Peer> {
    let mut named = None;
    {
        let reading = pin!(async { named = proxy_protocol::peer(accepted, stream).await });
        permit.serve(reading).await;
    }
    let Accepted { service, settings, .. } = accepted;
    named.filter(|peer| permit.move_to(peer, service.party(peer, counted_for(&**service, settings, peer))))
}
