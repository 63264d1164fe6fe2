//! The header of the PROXY protocol in front of a connection, and its time limit.

use tokio::time::timeout;

use crate::http::context::Accepted;
use crate::http::refusal::Refusal;
use crate::http::service::Service;
use crate::http::wire::report::ConnectionReport as _;
use crate::net::proxy_header::{self, ProxyHeaderError};
use crate::net::{Peer, Stream};

/// Reads the header, and returns the far end that it describes. Returns `None` if the peer is no trusted proxy, or sends
/// no valid header in time; the connection is refused then. Once the listener is closed, the header may take no longer
/// than a request.
pub(super) async fn peer<S: Service>(accepted: &Accepted<S>, stream: &mut Stream) -> Option<Peer> {
    let Accepted { settings, peer, .. } = accepted;
    let trusted = settings.trusted_proxies.as_ref().is_some_and(|trusted| trusted.contains(peer.address()));
    if !trusted {
        accepted.drop_connection(
            &Refusal::ProxyHeader,
            &"no trusted proxy, and the endpoint is for those alone: if it is one, name it in trusted_proxies",
        );
        return None;
    }
    let limit = settings.deadlines.first_byte;
    let read = tokio::select! {
        biased;
        read = timeout(limit, proxy_header::read(stream)) => read,
        () = accepted.lingered() => return None,
    };
    match read {
        Ok(Ok(told)) => Some(peer.through(told)),
        // Health checks of the kernel's load balancer connect and leave. They are no reason for a line.
        Ok(Err(ProxyHeaderError::Broken(_))) => None,
        Ok(Err(refused)) => {
            accepted.drop_connection(&Refusal::ProxyHeader, &refused);
            None
        }
        Err(_) => {
            let late = format!("no whole header of the PROXY protocol within {limit:?}");
            accepted.drop_connection(&Refusal::ProxyHeader, &late);
            None
        }
    }
}
