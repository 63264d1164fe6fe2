//! The admin API and its client, metrics, probes and the profiler.
//!
//! Lowest first; a file uses those above it in this list.
//!
//! | file | holds |
//! |---|---|
//! | `version_rows` | the counters of handlers, by the labels of their samples |
//! | `latency_metrics` | the distributions of durations, by version and by route |
//! | `handler_metrics` | the metrics of handler versions |
//! | `metrics` | the metrics of the engine, connections and the process |
//! | `daemon_metrics` | the metrics of the compiler, of its cache, of reloads and of traces |
//! | `acme_metrics` | the metrics of certificates that the daemon obtains itself |
//! | `database_metrics` | the metrics of databases |
//! | `key_set_metrics` | the metrics of the keys that gates fetch |
//! | `store_metrics` | the metrics of stores |
//! | `profile_request` | a profile as it is asked for |
//! | `daemon_pages` | pages of the profiler about the heap and the threads |
//! | `profiler` | pages that show what handlers and the daemon spend |
//! | `dashboard_files` | the files of the dashboard as responses |
//! | `observe` | metrics and probes for observers, who cannot change anything |
//! | `run_job` | jobs over HTTP |
//! | `operators` | the service that answers by `run_job` or `observe` |
//! | `daemon_connection` | a connection to the admin socket, for its clients |
//! | `client` | the client of `run_job` |
//! | `forward` | the dashboard on a loopback port, for a browser with a token |

pub(in crate::http) mod acme_metrics;
pub mod client;
mod daemon_connection;
pub(in crate::http) mod daemon_metrics;
mod daemon_pages;
pub(in crate::http) mod dashboard_files;
pub(in crate::http) mod database_metrics;
pub mod forward;
pub(in crate::http) mod handler_metrics;
pub(in crate::http) mod key_set_metrics;
pub(in crate::http) mod latency_metrics;
pub(in crate::http) mod metrics;
pub(in crate::http) mod observe;
pub(in crate::http) mod operators;
mod profile_request;
pub(in crate::http) mod profiler;
pub(in crate::http) mod run_job;
pub(in crate::http) mod store_metrics;
pub(in crate::http) mod version_rows;
