//! Binds all endpoints of a configuration, or none of them.

use super::listener::Listener;
use super::options::BindOptions;
use super::socket_file::SocketFile;
use super::tcp;
use super::unix;
use crate::net::activation::fd_name;
use crate::net::activation::systemd::{Activation, GivenSocket, PassedListener};
use crate::net::endpoint::Endpoint;
use anyhow::{Context, anyhow, bail};

/// Binds every endpoint, in order. From then on connections queue in the kernel.
///
/// A name gives one listener per address. `fd://` gives one per socket not yet taken, so bind the endpoints that name
/// a single socket first. Blocks on name lookups and on the lock of a Unix socket's directory.
///
/// # Errors
/// The first endpoint that cannot be bound, with what to do about it. Everything bound before it is closed and its
/// Unix paths are removed; passed sockets stay open in systemd. Without a tokio runtime nothing is bound.
pub fn bind(
    endpoints: &[Endpoint],
    options: &BindOptions,
    activation: &mut Activation,
) -> anyhow::Result<Vec<Listener>> {
    tokio::runtime::Handle::try_current()
        .context("sockets are bound inside a tokio runtime: enter one first")?;
    let mut listeners = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        listeners.extend(bind_one(endpoint, options, activation)?);
    }
    Ok(listeners)
}

/// Checks whether the Unix sockets among the endpoints could be made; returns one error per endpoint. Makes nothing
/// and connects to nothing. Only [`bind`] can tell whether a TCP port is free.
pub fn examine(endpoints: &[Endpoint], options: &BindOptions) -> Vec<anyhow::Error> {
    let wrong = |endpoint: &Endpoint| match endpoint {
        Endpoint::Unix(path) => unix::examine(path, options).with_context(|| endpoint.to_string()).err(),
        Endpoint::Tcp(_) | Endpoint::Fd(_) => None,
    };
    endpoints.iter().filter_map(wrong).collect()
}

fn bind_one(
    endpoint: &Endpoint,
    options: &BindOptions,
    activation: &mut Activation,
) -> anyhow::Result<Vec<Listener>> {
    let inherited = inherit(endpoint, activation)?;
    if !inherited.is_empty() {
        return Ok(inherited);
    }
    match endpoint {
        Endpoint::Tcp(address) => tcp::bind(address, options.backlog_for_kernel())?
            .into_iter()
            .map(|socket| Listener::tcp(endpoint.clone(), socket).with_context(|| endpoint.to_string()))
            .collect(),
        Endpoint::Unix(path) => {
            let (socket, file) = unix::bind(path, options).with_context(|| endpoint.to_string())?;
            let local = endpoint.to_string();
            let listener =
                Listener::unix(endpoint.clone(), socket, local.clone(), Some(file)).context(local)?;
            Ok(vec![listener])
        }
        Endpoint::Fd(name) => activation
            .take(name)?
            .into_iter()
            .map(|given| wrap(endpoint, given).with_context(|| endpoint.to_string()))
            .collect(),
    }
}

/// Takes over the sockets that the previous process bound for an endpoint, or that systemd stored. The list is empty
/// if there are none that clients can still reach.
fn inherit(endpoint: &Endpoint, activation: &mut Activation) -> anyhow::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for fd in activation.inherited(&fd_name::of(endpoint)?) {
        let socket = GivenSocket::of(fd).map_err(|found| anyhow!("{endpoint}: the passed socket {found}"))?;
        listeners.extend(match (endpoint, socket) {
            (Endpoint::Tcp(_), GivenSocket::Tcp(socket)) => Some(Listener::tcp(endpoint.clone(), socket)?),
            (Endpoint::Unix(path), GivenSocket::Unix(socket)) => match SocketFile::adopt(path) {
                Ok(file) => Some(Listener::unix(endpoint.clone(), socket, endpoint.to_string(), Some(file))?),
                Err(error) => {
                    tracing::debug!("{endpoint}: bound anew: {error:#}");
                    None
                }
            },
            (Endpoint::Tcp(_) | Endpoint::Unix(_) | Endpoint::Fd(_), _) => {
                bail!("{endpoint}: the passed socket is of another kind")
            }
        });
    }
    Ok(listeners)
}

fn wrap(endpoint: &Endpoint, given: PassedListener) -> anyhow::Result<Listener> {
    let PassedListener { socket, taken } = given;
    let listener = match socket {
        GivenSocket::Tcp(socket) => Listener::tcp(endpoint.clone(), socket)?,
        GivenSocket::Unix(socket) => {
            let addr = socket.local_addr()?;
            let local = match (addr.as_pathname(), abstract_name(&addr)) {
                (Some(path), _) => format!("unix://{}", path.display()),
                (None, Some(name)) => format!("unix://@{name}"),
                (None, None) => bail!("the socket has no name: give it one with ListenStream="),
            };
            Listener::unix(endpoint.clone(), socket, local, None)?
        }
    };
    Ok(listener.passed(taken))
}

fn abstract_name(addr: &std::os::unix::net::SocketAddr) -> Option<String> {
    use std::os::linux::net::SocketAddrExt;
    addr.as_abstract_name().map(|name| String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::FdName;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn endpoints(texts: &[&str]) -> Vec<Endpoint> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn bind_texts(texts: &[&str]) -> anyhow::Result<Vec<Listener>> {
        bind(&endpoints(texts), &BindOptions::default(), &mut Activation::none())
    }

    #[tokio::test]
    async fn one_bad_endpoint_and_none_is_bound() {
        let dir = tempfile::tempdir().unwrap();
        let unix = format!("unix://{}/p.sock", dir.path().display());
        let taken = bind_texts(&["tcp://127.0.0.1:0"]).unwrap().remove(0);

        let refusal = bind_texts(&[&unix, "tcp://127.0.0.1:0", taken.local()]).unwrap_err();

        assert_eq!(
            format!("{refusal:#}"),
            format!(
                "{}: address already in use: stop the other program or choose another port",
                taken.local()
            )
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_passed_socket_is_served_and_its_path_is_never_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.sock");
        let passed = UnixListener::bind(&path).unwrap();
        let mut activation = Activation::of(vec![(3, "web", passed.into())]);
        let wanted = [Endpoint::Fd(FdName::Name("web".to_owned()))];

        let listeners = bind(&wanted, &BindOptions::default(), &mut activation).unwrap();

        assert_eq!(listeners[0].local(), format!("unix://{}", path.display()));
        assert_eq!(listeners[0].endpoint(), &wanted[0]);
        let _client = UnixStream::connect(&path).unwrap();
        let accepted = tokio::time::timeout(std::time::Duration::from_secs(60), listeners[0].accept());
        accepted.await.unwrap();
        drop(listeners);
        assert!(path.exists());
    }

    #[test]
    fn without_a_runtime_nothing_is_bound() {
        assert!(bind_texts(&["tcp://127.0.0.1:0"]).is_err());
    }
}
