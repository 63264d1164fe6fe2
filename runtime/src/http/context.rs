//! The accept loop of one listener.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::limits::activity::Activity;
use super::limits::admin_slots::AdminSlots;
use super::limits::connections::ConnectionLimit;
use super::limits::handshakes::Handshakes;
use super::limits::refusal_counts::RefusalCounts;
use super::refusal::{Details, Refusal};
use super::wire::progress::Deadlines;
use crate::engine::Engine;
use crate::net::{Gate, Tls};
use crate::observe::Reloads;
use crate::scratch::Scratch;
use crate::wasm::Allocation;
use crate::wasm::cache::Figures;

/// What every listener shares.
pub struct Server {
    /// Where jobs are made and run.
    pub engine: Arc<Engine>,
    /// What must be open before anything is accepted.
    pub gate: Gate,
    /// The bounds of connections and heads. A connection pins them as a request pins its catalog.
    pub settings: Arc<ArcSwap<Settings>>,
    /// Those of all listeners.
    pub connections: Arc<ConnectionLimit>,
    /// Counts them.
    pub activity: Activity,
    /// The TLS handshakes that are under way.
    pub handshakes: Arc<Handshakes>,
    /// Counts the requests to handlers that were refused; the daemon's own listener shows them.
    pub refused: Arc<RefusalCounts>,
    /// Where bodies are kept that do not fit into memory; `None`: nowhere.
    pub scratch: Option<Arc<Scratch>>,
    /// What its requests are for.
    pub purpose: Purpose,
}

impl Server {
    /// Counts a refusal, unless it tells of a job that failed: those are counted with their handler.
    pub(in crate::http) fn refused(&self, refusal: &Refusal) {
        if !matches!(refusal, Refusal::Failed(..)) {
            self.count(refusal.code());
        }
    }

    /// Counts a refusal by its code, where they are counted.
    pub(in crate::http) fn count(&self, code: &'static str) {
        match self.purpose {
            Purpose::Admin { .. } | Purpose::Observe(_) => {}
            Purpose::Handlers => self.refused.count(code),
        }
    }
}

/// What the requests of a listener are for.
pub enum Purpose {
    /// The handlers, by the routes of the catalog.
    Handlers,
    /// The daemon itself, by the names of jobs.
    Admin {
        /// What operators ask about.
        observed: Observed,
        /// For requests that last.
        places: AdminSlots,
    },
    /// Metrics and health checks; nothing can be changed here.
    Observe(Observed),
}

/// The bounds of connections and heads. Sizes are in bytes.
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
    /// Whether clients are told what is for the operator.
    pub details: Details,
    /// Whether operators are shown what computes.
    pub profiler: bool,
    /// Whether every exchange is logged.
    pub access_log: bool,
    /// How long a connection that is to leave waits for a request that may be on its way.
    pub linger: Duration,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How many may be under way.
    pub handshakes: usize,
    /// What encrypts connections; none: nothing does.
    pub tls: Option<Arc<Tls>>,
}

/// What an operator asks about.
pub struct Observed {
    /// The gate that the handlers are behind.
    pub gate: Gate,
    /// The connections to them.
    pub clients: Arc<ConnectionLimit>,
    /// How the jobs of handlers get their memory.
    pub allocation: Allocation,
    /// How the last reloads have ended.
    pub reloads: Arc<Reloads>,
    /// What is counted of the cache of compiled modules, if there is one.
    pub cache: Option<Arc<Figures>>,
}
