//! Reads `[http]`: the limits of a connection.

use std::time::Duration;

use super::memory_bound::MemoryBound;
use super::reader::Keyed;
use super::report::Diagnostics;
use super::schema;
use super::values;

/// The highest `connections`: Linux's default for fs.nr_open.
const MOST_CONNECTIONS: usize = 1 << 20;

/// The least memory for what connections hold: that of a few connections.
const LEAST_CLIENT_MEMORY: u64 = 4 << 20;

/// The limits of a connection. Sizes are in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpLimits {
    /// From the connection to its first byte.
    pub first_byte: Duration,
    /// From the connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// TLS handshakes at once.
    pub handshakes: usize,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// Between two pieces of a request body.
    pub body_idle: Duration,
    /// For a client to read the next piece of a response.
    pub write_idle: Duration,
    /// The least rate of a request body or a response while we wait for the client, in bytes a second. 0 means no
    /// minimum.
    pub min_rate: u64,
    /// The window over which `min_rate` is measured.
    pub rate_window: Duration,
    /// Between two requests.
    pub keep_alive: Duration,
    /// The size of the request line and fields together.
    pub head_size: usize,
    /// The length of the request target.
    pub target_size: usize,
    /// The number of fields of a request.
    pub fields: usize,
    /// Connections at once. `None` means as many as there are descriptors for.
    pub connections: Option<usize>,
    /// Connections of one address. `None` means half of `connections`.
    pub connections_per_peer: Option<usize>,
    /// The memory that connections may hold for their clients, all together.
    pub client_memory: MemoryBound,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits {
            first_byte: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            handshakes: 256,
            head: Duration::from_secs(10),
            body_idle: Duration::from_secs(30),
            write_idle: Duration::from_secs(30),
            // The rate of Kestrel, which it uses for request bodies and responses.
            min_rate: 240,
            // A client that only pauses is caught by `body_idle` and `write_idle` instead.
            rate_window: Duration::from_secs(30),
            // Longer than the 60 s of AWS's load balancers and nginx's upstreams: the proxy closes first and never
            // sends a request into a closed connection.
            keep_alive: Duration::from_secs(75),
            head_size: 32 << 10,
            target_size: 8 << 10,
            fields: 100,
            connections: None,
            connections_per_peer: None,
            client_memory: MemoryBound::Auto,
        }
    }
}

/// Reads the limits. A missing key takes its default.
pub(super) fn read(written: Option<&Keyed<schema::Http>>, report: &Diagnostics<'_>) -> HttpLimits {
    let defaults = HttpLimits::default();
    let Some(Keyed { value: http, .. }) = written else { return defaults };
    let deadline =
        |written: &Option<Keyed<_>>, default| report.settle(written.as_ref(), default, values::deadline);
    // hyper wants a buffer of 8 KiB at least. Each connection holds such a buffer.
    let head_size = values::size_in_memory(8 << 10..=1 << 20);
    // http::Uri holds 65534 bytes at most.
    let target_size = values::size_in_memory(64..=(64 << 10) - 2);
    // Far below the 32768 that http::HeaderMap holds, since each field costs memory for each connection.
    let fields = values::count(1..=4096);
    let handshakes = values::count(1..=MOST_CONNECTIONS);
    let connections = |written: &Option<Keyed<_>>| {
        report.settle(written.as_ref(), None, |scalar| values::count(1..=MOST_CONNECTIONS)(scalar).map(Some))
    };
    HttpLimits {
        first_byte: deadline(&http.first_byte, defaults.first_byte),
        handshake: deadline(&http.handshake, defaults.handshake),
        handshakes: report.settle(http.handshakes.as_ref(), defaults.handshakes, handshakes),
        head: deadline(&http.head, defaults.head),
        body_idle: deadline(&http.body_idle, defaults.body_idle),
        write_idle: deadline(&http.write_idle, defaults.write_idle),
        min_rate: report.settle(http.min_rate.as_ref(), defaults.min_rate, values::rate),
        rate_window: deadline(&http.rate_window, defaults.rate_window),
        keep_alive: deadline(&http.keep_alive, defaults.keep_alive),
        head_size: report.settle(http.head_size.as_ref(), defaults.head_size, head_size),
        target_size: report.settle(http.target_size.as_ref(), defaults.target_size, target_size),
        fields: report.settle(http.fields.as_ref(), defaults.fields, fields),
        connections: connections(&http.connections),
        connections_per_peer: connections(&http.connections_per_peer),
        client_memory: report.settle(http.client_memory.as_ref(), defaults.client_memory, |scalar| {
            values::memory_bound(scalar, LEAST_CLIENT_MEMORY)
        }),
    }
}
