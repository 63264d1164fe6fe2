//! The client and server addresses of a connection, and the credentials of a Unix client.

use super::proxy_header::{ProxiedConnection, ProxyClient};
use super::tls::Secured;
use crate::access::{ForwardedScheme, Forwarding};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// The two ends of one connection, in the form that CGI's meta-variables need.
///
/// The address texts are built once per connection and shared by clones, so reading them for a request costs nothing.
#[derive(Debug, Clone)]
pub struct Peer {
    remote: Remote,
    remote_addr: Arc<str>,
    server_addr: Arc<str>,
    server_port: Option<u16>,
    secured: Option<Arc<Secured>>,
    /// What a trusted proxy reports, or `None` if the connection itself tells the scheme.
    scheme: Option<ForwardedScheme>,
    path: ClientPath,
}

/// How the client of a request is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientPath {
    /// To this daemon, or to a proxy that passes its bytes on and names its address.
    Direct,
    /// The client is a proxy itself, as for a health check.
    Proxy,
    /// To a proxy that passes its bytes on and does not name its address.
    Unnamed,
    /// To a proxy, whose connection carries the requests of many clients.
    BehindProxy,
    /// To a proxy that hides the client's address: the address is that of a proxy.
    Hidden,
}

/// The far end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remote {
    /// A TCP client.
    Tcp(SocketAddr),
    /// A process on this machine, named by the kernel.
    Unix(Credentials),
    /// A client of a trusted proxy, and its port if the proxy names it.
    Forwarded(IpAddr, Option<u16>),
}

/// The credentials that the kernel reports for the process that connected to a Unix socket.
///
/// Source: `SO_PEERCRED`, unix(7). They describe the process at the moment of connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// The process, if it is visible in our namespace.
    pub pid: Option<i32>,
}

impl Peer {
    /// Describes a TCP connection; `server_addr` is the text of the local address.
    pub(super) fn tcp(remote: SocketAddr, server_addr: Arc<str>, server_port: u16) -> Peer {
        let ip = remote.ip().to_canonical();
        let remote = SocketAddr::new(ip, remote.port());
        Peer {
            remote: Remote::Tcp(remote),
            remote_addr: ip.to_string().into(),
            server_addr,
            server_port: Some(server_port),
            secured: None,
            scheme: None,
            path: ClientPath::Direct,
        }
    }

    /// Describes a Unix connection. `nowhere` is the empty text, shared by all connections of a listener.
    pub(super) fn unix(credentials: Credentials, nowhere: Arc<str>) -> Peer {
        Peer {
            remote: Remote::Unix(credentials),
            remote_addr: nowhere.clone(),
            server_addr: nowhere,
            server_port: None,
            secured: None,
            scheme: None,
            path: ClientPath::Direct,
        }
    }

    /// Adds the result of a TLS handshake.
    pub fn over_tls(self, secured: Secured) -> Peer {
        Peer { secured: Some(Arc::new(secured)), ..self }
    }

    /// Describes the far end of a connection from this proxy, which speaks the PROXY protocol.
    #[must_use]
    pub fn through(&self, told: ProxyClient) -> Peer {
        match told {
            ProxyClient::Itself => Peer { path: ClientPath::Proxy, ..self.clone() },
            ProxyClient::Unnamed => Peer { path: ClientPath::Unnamed, ..self.clone() },
            ProxyClient::Named(ProxiedConnection { client, server }) => {
                Peer::tcp(client, server.ip().to_canonical().to_string().into(), server.port())
            }
        }
    }

    /// Describes the client of a trusted proxy. Facts that the proxy does not report stay those of its connection.
    /// `server_port` is the port that the client asked for.
    #[must_use]
    pub fn behind(&self, forwarding: &Forwarding, server_port: Option<u16>) -> Peer {
        let mut client = self.clone();
        if let Some((address, port)) = forwarding.client {
            client.remote = Remote::Forwarded(address, port);
            client.remote_addr = address.to_string().into();
        }
        client.path = if forwarding.is_hidden { ClientPath::Hidden } else { ClientPath::BehindProxy };
        client.scheme = forwarding.scheme.or(self.scheme);
        client.server_port = server_port.or(self.server_port);
        client
    }

    /// Describes a request without a connection, such as the daemon's own requests.
    pub fn nobody() -> Peer {
        Peer::unix(Credentials { uid: u32::MAX, gid: u32::MAX, pid: None }, "".into())
    }

    /// The far end, typed.
    pub fn remote(&self) -> Remote {
        self.remote
    }

    /// The client's address for limits per client. An IPv6 address is cut to its 64-bit network prefix: a client with
    /// one address of such a network has all of them (RFC 4291 §2.5.4). `None` for a Unix client, which the file
    /// system has already admitted.
    pub fn origin(&self) -> Option<IpAddr> {
        self.address().map(|address| match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        })
    }

    /// The client's whole address, or `None` for a Unix client.
    pub fn address(&self) -> Option<IpAddr> {
        match self.remote {
            Remote::Unix(_) => None,
            Remote::Tcp(remote) => Some(remote.ip()),
            Remote::Forwarded(address, _) => Some(address),
        }
    }

    /// Reports whether a trusted proxy hides the client's address. The address is then that of a proxy and says nothing
    /// about the client.
    pub fn is_hidden(&self) -> bool {
        matches!(self.path, ClientPath::Hidden | ClientPath::Unnamed)
    }

    /// Reports whether the far end may be a proxy that writes about its client into the request. A proxy's own requests
    /// have no such client, and a client that the proxy does not name wrote the fields itself.
    pub fn may_forward(&self) -> bool {
        self.path == ClientPath::Direct
    }

    /// The client's address without its port: `127.0.0.1`, `::1`.
    ///
    /// Empty for a Unix client: RFC 3875 §4.1.8 allows only an address here, and §4.1 makes empty the same as unset.
    pub fn remote_addr(&self) -> &Arc<str> {
        &self.remote_addr
    }

    /// The client's port, or `None` for a Unix client and where a proxy does not name it.
    pub fn remote_port(&self) -> Option<u16> {
        match self.remote {
            Remote::Tcp(remote) => Some(remote.port()),
            Remote::Forwarded(_, port) => port,
            Remote::Unix(_) => None,
        }
    }

    /// The address the client reached, without its port; empty for a Unix client.
    pub fn server_addr(&self) -> &Arc<str> {
        &self.server_addr
    }

    /// The port the client reached, or `None` for a Unix client.
    pub fn server_port(&self) -> Option<u16> {
        self.server_port
    }

    /// The result of the TLS handshake, or `None` if the connection is not encrypted.
    pub fn secured(&self) -> Option<&Secured> {
        self.secured.as_deref()
    }

    /// The TLS connection of the client itself. `None` behind a trusted proxy: a certificate would be that of the proxy.
    pub fn client_certificate(&self) -> Option<&Secured> {
        match self.path {
            ClientPath::Direct | ClientPath::Proxy | ClientPath::Unnamed => self.secured(),
            ClientPath::BehindProxy | ClientPath::Hidden => None,
        }
    }

    /// Reports whether the client uses TLS, towards this daemon or towards a trusted proxy.
    pub fn is_secure(&self) -> bool {
        match self.scheme {
            Some(scheme) => scheme == ForwardedScheme::Https,
            None => self.secured.is_some(),
        }
    }

    /// The kernel's credentials of a Unix client, or `None` for a TCP client.
    pub fn credentials(&self) -> Option<Credentials> {
        match self.remote {
            Remote::Tcp(_) | Remote::Forwarded(..) => None,
            Remote::Unix(credentials) => Some(credentials),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remote::Tcp(remote) => write!(out, "{remote}"),
            Remote::Forwarded(address, Some(port)) => write!(out, "{}", SocketAddr::new(*address, *port)),
            Remote::Forwarded(address, None) => write!(out, "{address}"),
            Remote::Unix(Credentials { uid, gid, pid: Some(pid) }) => {
                write!(out, "unix uid={uid} gid={gid} pid={pid}")
            }
            Remote::Unix(Credentials { uid, gid, pid: None }) => write!(out, "unix uid={uid} gid={gid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_told_as_ipv4() {
        let peer = Peer::tcp("[::ffff:192.0.2.7]:4000".parse().unwrap(), "192.0.2.1".into(), 80);

        assert_eq!(&**peer.remote_addr(), "192.0.2.7");
        assert_eq!(peer.remote().to_string(), "192.0.2.7:4000");
        assert_eq!((peer.remote_port(), peer.server_port()), (Some(4000), Some(80)));
        assert_eq!(peer.credentials(), None);
    }

    #[test]
    fn the_client_of_a_proxy_takes_its_place_and_the_rest_stays() {
        let proxy = Peer::tcp("10.0.0.1:4000".parse().unwrap(), "10.0.0.9".into(), 80);
        let client = Some(("2001:db8::7".parse().unwrap(), None));
        let scheme = Some(ForwardedScheme::Https);

        let told = Forwarding { client, scheme, ..Forwarding::default() };
        let peer = proxy.behind(&told, Some(443));

        assert_eq!((&**peer.remote_addr(), peer.remote_port()), ("2001:db8::7", None));
        assert_eq!(peer.remote().to_string(), "2001:db8::7");
        assert_eq!(peer.origin(), Some("2001:db8::".parse().unwrap()));
        assert_eq!((&**peer.server_addr(), peer.server_port()), ("10.0.0.9", Some(443)));
        assert!(peer.is_secure() && !proxy.is_secure() && peer.secured().is_none());
    }

    #[test]
    fn a_hidden_client_has_no_certificate_and_is_told_from_its_proxy() {
        let proxy = Peer::tcp("10.0.0.1:4000".parse().unwrap(), "10.0.0.9".into(), 80);
        let hidden = Forwarding { is_hidden: true, ..Forwarding::default() };

        let client = proxy.behind(&hidden, None);

        assert_eq!((client.is_hidden(), client.remote()), (true, proxy.remote()));
        assert!(client.client_certificate().is_none());
        assert!(!proxy.is_hidden() && !proxy.behind(&Forwarding::default(), None).is_hidden());
    }

    #[test]
    fn a_client_that_a_header_does_not_name_is_hidden_and_its_fields_are_its_own() {
        let proxy = Peer::tcp("10.0.0.1:4000".parse().unwrap(), "10.0.0.9".into(), 80);

        let [itself, unnamed] = [ProxyClient::Itself, ProxyClient::Unnamed].map(|told| proxy.through(told));

        assert_eq!((itself.remote(), unnamed.remote()), (proxy.remote(), proxy.remote()));
        assert!(!itself.is_hidden() && unnamed.is_hidden());
        assert!(proxy.may_forward() && !itself.may_forward() && !unnamed.may_forward());
    }

    #[test]
    fn a_unix_client_has_credentials_and_no_address() {
        let peer = Peer::unix(Credentials { uid: 1, gid: 2, pid: Some(3) }, "".into());

        assert_eq!(&**peer.remote_addr(), "");
        assert_eq!((peer.remote_port(), peer.server_port()), (None, None));
        assert_eq!(peer.remote().to_string(), "unix uid=1 gid=2 pid=3");
    }
}
