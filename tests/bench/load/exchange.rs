//! What is asked, what must be answered, and how the two travel.

use std::sync::Arc;

use rustls::ClientConfig;

/// The name that the server is asked by.
pub(super) const HOST: &str = "localhost";

/// A request and the body of the response to it.
#[derive(Clone)]
pub(crate) struct Exchange {
    /// The method of the request.
    pub(crate) method: &'static str,
    /// Its path.
    pub(crate) path: String,
    /// Its body.
    pub(crate) sends: Vec<u8>,
    /// The body that the response must have; its status must be 200.
    pub(crate) wants: Vec<u8>,
}

impl Exchange {
    /// Asks for a path with GET.
    pub(crate) fn get(path: &str, wants: &str) -> Exchange {
        Exchange { method: "GET", path: path.to_owned(), sends: Vec::new(), wants: wants.into() }
    }
}

/// How requests travel.
#[derive(Clone)]
pub(crate) struct Way {
    /// Connections at once.
    pub(crate) connections: usize,
    /// HTTP/2, with so many requests at once on each connection; absent: HTTP/1.1, with one.
    pub(crate) streams: Option<usize>,
    /// Over TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// A new connection for every request.
    pub(crate) renewed: bool,
}

impl Way {
    /// HTTP/1.1 in clear on so many connections.
    pub(crate) fn plain(connections: usize) -> Way {
        Way { connections, streams: None, tls: None, renewed: false }
    }
}
