//! The state that the listeners of a server share, and their settings.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::sleep;

use super::limits::activity::Activity;
use super::limits::connections::ConnectionLimit;
use super::limits::direct_counts::DirectCounts;
use super::limits::handshakes::Handshakes;
use super::limits::refusal_counts::RefusalCounts;
use super::refusal::Details;
use super::request::access_line::AccessLog;
use super::wire::h1::head::HeadLimits;
use super::wire::progress::Deadlines;
use crate::access::{AddressSet, FetchedKeySet, OperatorRights};
use crate::catalog::Template;
use crate::engine::Engine;
use crate::net::{DrainSignal, Endpoint, Gate, Peer, Tls};
use crate::observe::traces::Tracer;
use crate::observe::{QueryMask, Reloads};
use crate::scratch::Scratch;
use crate::wasm::Allocation;
use crate::wasm::cache::Figures;

/// The state that all listeners of a server share.
pub struct Server {
    /// The engine that makes and runs jobs.
    pub engine: Arc<Engine>,
    /// The gate that must be open before any connection is accepted.
    pub gate: Gate,
    /// The settings of connections and heads. A connection pins them, as a request pins its catalog.
    pub settings: Arc<ArcSwap<Settings>>,
    /// The connection limits over all listeners.
    pub connections: Arc<ConnectionLimit>,
    /// Counts the connections.
    pub activity: Activity,
    /// The TLS handshakes in progress.
    pub handshakes: Arc<Handshakes>,
    /// Counts refused requests to handlers. The daemon's own listener shows the counts.
    pub refused: Arc<RefusalCounts>,
    /// Counts the responses of routes without a handler.
    pub direct: Arc<DirectCounts>,
    /// Stores bodies that do not fit in memory; `None` if there is no place for them.
    pub scratch: Option<Arc<Scratch>>,
}

/// An accepted connection, and the settings it is served with.
pub(in crate::http) struct Accepted<S> {
    pub(in crate::http) service: Arc<S>,
    /// Pinned, so that a reload changes nothing for an open connection.
    pub(in crate::http) settings: Arc<Settings>,
    pub(in crate::http) peer: Peer,
    /// Signals when the connection should drain.
    pub(in crate::http) leaving: DrainSignal,
}

/// The limits of connections and heads. Sizes are in bytes.
#[derive(Clone)]
pub struct Settings {
    /// How long a peer may keep a connection waiting.
    pub deadlines: Deadlines,
    /// How long a peer may keep a job waiting for the next byte of a body.
    pub body_idle: Duration,
    /// The largest request head.
    pub head_size: usize,
    /// The longest request target.
    pub target_size: usize,
    /// The most header fields.
    pub fields: usize,
    /// Whether clients see details meant for the operator.
    pub details: Details,
    /// Whether the admin socket serves the profiler.
    pub profiler: bool,
    /// What clients of the admin socket may do that are neither root nor the daemon's user.
    pub operators: OperatorRights,
    /// How every request is logged, or `None` if requests are not logged.
    pub access_log: Option<AccessLog>,
    /// The query parameters whose values are not logged.
    pub mask_query: QueryMask,
    /// How long a draining connection waits for a request that may still arrive.
    pub linger: Duration,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How many TLS handshakes may be in progress at once.
    pub handshakes: usize,
    /// Where requests in clear are redirected. `None` answers them.
    pub https: Option<Arc<Template>>,
    /// The TLS settings, or `None` without TLS.
    pub tls: Option<Arc<Tls>>,
    /// The proxies whose word about their clients is believed. `None` if there are none.
    pub trusted_proxies: Option<Arc<AddressSet>>,
    /// The endpoints whose connections begin with a header of the PROXY protocol.
    pub proxy_protocol: Vec<Endpoint>,
    /// The sets of keys that gates fetch, for the metrics.
    pub key_sets: Vec<Arc<FetchedKeySet>>,
    /// Begins the traces of requests. `None` if traces are off.
    pub tracer: Option<Arc<Tracer>>,
}

/// The state that operators and observers can see.
pub struct Observed {
    /// The gate in front of the handlers.
    pub gate: Gate,
    /// The connections to the handlers.
    pub clients: Arc<ConnectionLimit>,
    /// How the jobs of handlers get their memory.
    pub allocation: Allocation,
    /// How the last reloads ended.
    pub reloads: Arc<Reloads>,
    /// The counters of the compile cache, if there is one.
    pub cache: Option<Arc<Figures>>,
}

impl Settings {
    /// Returns the limits of a request head of this peer.
    pub(in crate::http) fn head_limits(&self, peer: &Peer) -> HeadLimits {
        let Settings { head_size: head, target_size: target, fields, .. } = *self;
        HeadLimits { head, target, fields, is_local: peer.origin().is_none() }
    }
}

impl<S> Accepted<S> {
    /// Waits until the listener is closed, and then as long as bytes that the client has sent before may take to arrive.
    pub(in crate::http) async fn lingered(&self) {
        self.leaving.closed().await;
        sleep(self.settings.linger).await;
    }
}
