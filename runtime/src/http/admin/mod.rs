//! The admin API and its client, metrics, probes and the profiler.
//!
//! Lowest first; a file uses those above it in this list.
//!
//! | file | holds |
//! |---|---|
//! | `metrics` | the metrics of handlers, connections and the process |
//! | `daemon_metrics` | the metrics of the compile cache and of reloads |
//! | `profiler` | pages that show what the daemon computes |
//! | `observe` | metrics and probes, for those who may change nothing |
//! | `api` | jobs over HTTP |
//! | `client` | the other end of `api` |

pub(in crate::http) mod api;
pub mod client;
pub(in crate::http) mod daemon_metrics;
pub(in crate::http) mod metrics;
pub(in crate::http) mod observe;
pub(in crate::http) mod profiler;
