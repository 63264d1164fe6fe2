//! Exchanges: the request to send, the expected response, and how both are transported.

use std::sync::Arc;

use rustls::ClientConfig;

/// The host name of requests.
pub(super) const HOST: &str = "localhost";

/// A request and the expected body of its response.
#[derive(Clone)]
pub(crate) struct Exchange {
    /// The method of the request.
    pub(crate) method: &'static str,
    /// Its path.
    pub(crate) path: String,
    /// Its further fields, each with its line break. HTTP/1.1 only.
    pub(crate) fields: String,
    /// Its body.
    pub(crate) sends: Vec<u8>,
    /// Whether the body is sent in chunks, without its length. HTTP/1.1 only.
    pub(crate) is_chunked: bool,
    /// The body that the response must have; its status must be 200.
    pub(crate) wants: Vec<u8>,
    /// Whether any body will do. HTTP/1.1 only.
    pub(crate) any_body: bool,
}

impl Exchange {
    /// Asks for a path with GET.
    pub(crate) fn get(path: &str, wants: &str) -> Exchange {
        Exchange {
            method: "GET",
            path: path.to_owned(),
            fields: String::new(),
            sends: Vec::new(),
            is_chunked: false,
            wants: wants.into(),
            any_body: false,
        }
    }
}

/// How requests are transported.
#[derive(Clone)]
pub(crate) struct Way {
    /// The number of connections.
    pub(crate) connections: usize,
    /// The number of concurrent requests on each HTTP/2 connection. `None` means HTTP/1.1, with one request at a time.
    pub(crate) streams: Option<usize>,
    /// The TLS settings; `None` means in clear.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// Whether every request uses a new connection.
    pub(crate) renewed: bool,
}

impl Way {
    /// HTTP/1.1 in clear on `connections` connections.
    pub(crate) fn plain(connections: usize) -> Way {
        Way { connections, streams: None, tls: None, renewed: false }
    }
}
