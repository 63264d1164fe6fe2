//! `[http]`: what a connection may take.

use std::time::Duration;

use super::reader::At;
use super::report::Report;
use super::schema;
use super::values;

/// The most connections that can be asked for: Linux's default for fs.nr_open.
const MOST_CONNECTIONS: usize = 1 << 20;

/// What a connection may take. Sizes are in bytes.
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
    /// For a client to take the next piece of a response.
    pub write_idle: Duration,
    /// Bytes a second of a body or a response, while its client is waited for; 0: any rate will do.
    pub min_rate: u64,
    /// How long a client is waited for before it is judged by what it moved meanwhile.
    pub rate_window: Duration,
    /// Between two requests.
    pub keep_alive: Duration,
    /// The request line and fields together.
    pub head_size: usize,
    /// The request target.
    pub target_size: usize,
    /// The fields of a request.
    pub fields: usize,
    /// Connections at once. `None`: as many as there are descriptors for.
    pub connections: Option<usize>,
    /// Connections of one address. `None`: half of all.
    pub connections_per_peer: Option<usize>,
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
            // As Kestrel has it, for bodies and for responses.
            min_rate: 240,
            // A client that pauses is left to the deadlines of pauses.
            rate_window: Duration::from_secs(30),
            // Longer than the 60 s of AWS's balancers and nginx's upstreams: they close first, and send nothing into an end.
            keep_alive: Duration::from_secs(75),
            head_size: 32 << 10,
            target_size: 8 << 10,
            fields: 100,
            connections: None,
            connections_per_peer: None,
        }
    }
}

/// Reads the bounds; what they do not say is the default.
pub(super) fn read(written: Option<&At<schema::Http>>, report: &Report<'_>) -> HttpLimits {
    let defaults = HttpLimits::default();
    let Some(At { value: http, .. }) = written else { return defaults };
    let deadline =
        |written: &Option<At<_>>, default| report.settle(written.as_ref(), default, values::deadline);
    // hyper wants a buffer of 8 KiB at least; a buffer is held for each connection.
    let head_size = values::size_in_memory(8 << 10..=1 << 20);
    // http::Uri holds 65534 bytes at most.
    let target_size = values::size_in_memory(64..=(64 << 10) - 2);
    // Far below the 32768 that http::HeaderMap holds: each field costs memory a connection.
    let fields = values::count(1..=4096);
    let handshakes = values::count(1..=MOST_CONNECTIONS);
    let connections = |written: &Option<At<_>>| {
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
    }
}
