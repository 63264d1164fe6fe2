//! Binding a TCP name or address.

use crate::net::endpoint::{Host, TcpAddress};
use anyhow::{Context, anyhow};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

/// How many ports are tried if the kernel's choice is taken at another address of the name.
const PORT_ATTEMPTS: u32 = 16;

/// Binds every address of a name. `SO_REUSEPORT` stays off: a second daemon could otherwise share the port unnoticed.
///
/// Blocks on the lookup of a name; needs no runtime.
pub(super) fn bind(address: &TcpAddress, backlog: i32) -> anyhow::Result<Vec<TcpListener>> {
    let wanted = resolve(address).with_context(|| format!("tcp://{address}"))?;
    let mut attempt = 1;
    loop {
        match bind_all(&wanted, backlog) {
            Ok(listeners) => return Ok(listeners),
            Err((_, error)) if retry_port(address, &error) && attempt < PORT_ATTEMPTS => attempt += 1,
            Err((addr, error)) => return Err(anyhow!("tcp://{addr}: {}", advise(&error))),
        }
    }
}

fn resolve(address: &TcpAddress) -> anyhow::Result<Vec<SocketAddr>> {
    let mut found = match address.host() {
        Host::Ip(ip) => vec![SocketAddr::new(*ip, address.port())],
        Host::Name(name) => (name.as_str(), address.port())
            .to_socket_addrs()
            .with_context(|| {
                format!("the name {name:?} has no address: write an address, or add the name to /etc/hosts")
            })?
            .collect(),
    };
    // IPv4 first: `bind_all` tolerates a missing IPv6 address only after an address was bound.
    found.sort_by_key(SocketAddr::is_ipv6);
    found.dedup();
    Ok(found)
}

fn bind_all(wanted: &[SocketAddr], backlog: i32) -> Result<Vec<TcpListener>, (SocketAddr, io::Error)> {
    let mut bound: Vec<TcpListener> = Vec::with_capacity(wanted.len());
    let mut port = 0;
    for addr in wanted {
        let mut addr = *addr;
        if addr.port() == 0 {
            addr.set_port(port);
        }
        match bind_one(addr, backlog) {
            Ok(listener) => {
                port = listener.local_addr().map_err(|error| (addr, error))?.port();
                bound.push(listener);
            }
            // "localhost" resolves to ::1 even where IPv6 is disabled.
            Err(error) if addr.is_ipv6() && !bound.is_empty() && is_absent(&error) => {
                tracing::debug!(%addr, %error, "an address of a name is not on this machine");
            }
            Err(error) => return Err((addr, error)),
        }
    }
    Ok(bound)
}

fn bind_one(addr: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Without it, connections in TIME_WAIT block a restart for a minute. A listening socket still excludes another.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        // One socket per family: [::] must neither depend on net.ipv6.bindv6only nor collide with 0.0.0.0.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

fn retry_port(address: &TcpAddress, error: &io::Error) -> bool {
    address.port() == 0 && error.kind() == io::ErrorKind::AddrInUse
}

fn advise(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "address already in use: stop the other program or choose another port".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied: choose a port of 1024 or more, or grant CAP_NET_BIND_SERVICE".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has the address: write one that `ip address` lists".to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Endpoint;

    fn try_bind(text: &str) -> anyhow::Result<Vec<TcpListener>> {
        match text.parse().unwrap() {
            Endpoint::Tcp(address) => bind(&address, 128),
            other => panic!("{other} is not tcp"),
        }
    }

    #[test]
    fn a_double_bind_fails_and_says_what_to_do() {
        let first = try_bind("tcp://127.0.0.1:0").unwrap();
        let addr = first[0].local_addr().unwrap();

        let refusal = try_bind(&format!("tcp://{addr}")).unwrap_err().to_string();

        assert_eq!(
            refusal,
            format!("tcp://{addr}: address already in use: stop the other program or choose another port")
        );
    }

    #[test]
    fn port_0_gives_every_address_of_a_name_the_same_port() {
        let wanted = ["127.0.0.1:0".parse().unwrap(), "127.0.0.2:0".parse().unwrap()];

        let bound = bind_all(&wanted, 128).unwrap();

        let ports: Vec<u16> = bound.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        assert_ne!(ports[0], 0);
        assert_eq!(ports[0], ports[1]);
    }

    #[test]
    fn a_missing_ipv6_is_skipped_when_ipv4_is_there_and_not_otherwise() {
        // RFC 3849: 2001:db8::/32 is documentation, so no interface has it.
        let absent = "[2001:db8::1]:0".parse().unwrap();

        let bound = bind_all(&["127.0.0.1:0".parse().unwrap(), absent], 128).unwrap();

        assert_eq!(bound.len(), 1);
        assert!(bind_all(&[absent], 128).is_err());
    }

    #[test]
    fn ipv6_does_not_take_the_port_from_ipv4() {
        let wanted = ["0.0.0.0:0".parse().unwrap(), "[::]:0".parse().unwrap()];

        let bound = bind_all(&wanted, 128);

        assert!(bound.is_ok(), "{bound:?}");
    }

    #[test]
    fn an_address_of_another_machine_is_refused_with_advice() {
        // RFC 5737: 198.51.100.0/24 is documentation.
        let refusal = try_bind("tcp://198.51.100.1:0").unwrap_err().to_string();

        assert!(refusal.contains("no interface of this machine has the address"), "{refusal}");
    }

    #[test]
    fn a_name_is_looked_up() {
        let bound = try_bind("tcp://localhost:0").unwrap();

        assert!(bound.iter().all(|listener| listener.local_addr().unwrap().ip().is_loopback()));
    }
}
