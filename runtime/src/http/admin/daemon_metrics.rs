//! Prometheus metrics of the compiler, of its cache, of reloads, of traces, and of routes without a handler.

use std::time::UNIX_EPOCH;

use crate::http::limits::direct_counts::DirectCounts;
use crate::observe::exposition::{Exposition, Labels, MetricKind};
use crate::observe::latency::Histograms;
use crate::observe::reloads::LastOutcomes;
use crate::observe::traces::{DropReason, Tracing};
use crate::wasm::cache::Figures;
use crate::wasm::compile;

/// Writes how the last reload ended, under the names that Prometheus uses for its own reloads.
pub(in crate::http) fn reloads(exposed: &mut Exposition, last: &LastOutcomes) {
    let help = "Whether the last reload of the configuration succeeded.";
    let name = "portcullis_config_last_reload_successful";
    exposed.single(name, MetricKind::Gauge, help, last.is_successful());
    let help = "Whether the secrets in force are those that their sources hold.";
    let name = "portcullis_secrets_last_reload_successful";
    exposed.single(name, MetricKind::Gauge, help, last.secrets_refused.is_none());
    let help = "When the configuration in force was loaded, in seconds since 1970; 0 if none is yet.";
    let since = last.succeeded.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let name = "portcullis_config_last_reload_success_timestamp_seconds";
    exposed.single(name, MetricKind::Gauge, help, since.as_secs_f64());
}

/// Writes how many requests were answered by routes without a handler.
pub(in crate::http) fn direct(exposed: &mut Exposition, direct: &DirectCounts) {
    let help = "Requests that were answered by a route without a handler, by the key of the route.";
    let counts = direct.counts().map(|(target, count)| (Labels::of("target", target), count));
    exposed.family("portcullis_direct_requests_total", MetricKind::Counter, help, counts);
}

/// Writes the metrics of the compile cache.
pub(in crate::http) fn cache(exposed: &mut Exposition, figures: &Figures) {
    let families = [
        ("hits_total", MetricKind::Counter, "Modules whose code was in the cache.", figures.hits()),
        ("misses_total", MetricKind::Counter, "Modules whose code was not in the cache.", figures.misses()),
        (
            "evictions_total",
            MetricKind::Counter,
            "Entries evicted from the cache by this process.",
            figures.evictions(),
        ),
        ("entries", MetricKind::Gauge, "Entries in the cache.", figures.entries()),
        ("bytes", MetricKind::Gauge, "Bytes of all entries in the cache.", figures.bytes()),
        (
            "limit_bytes",
            MetricKind::Gauge,
            "Bytes beyond which entries that are not in use are evicted (cache_size).",
            figures.max(),
        ),
    ];
    for (name, kind, help, value) in families {
        let name = format!("portcullis_compile_cache_{name}");
        exposed.single(&name, kind, help, value);
    }
}

/// Writes what became of the spans of traces. Without traces there are no such metrics.
pub(in crate::http) fn traces(exposed: &mut Exposition, traces: &Tracing) {
    if traces.current().is_none() {
        return;
    }
    let counts = traces.counts();
    let help = "Spans that the collector has taken.";
    exposed.single("portcullis_trace_spans_sent_total", MetricKind::Counter, help, counts.all_sent());
    let help = "Spans that were not sent, by the reason.";
    let dropped =
        DropReason::ALL.map(|reason| (Labels::of("reason", reason.label()), counts.all_dropped(reason)));
    exposed.family("portcullis_trace_spans_dropped_total", MetricKind::Counter, help, dropped);
    let help = "Requests with spans that the collector did not take.";
    let name = "portcullis_trace_exports_failed_total";
    exposed.single(name, MetricKind::Counter, help, counts.failed_exports());
}

/// Writes how long compilations took.
pub(in crate::http) fn compilations(exposed: &mut Exposition) {
    if Histograms::current() == Histograms::Off {
        return;
    }
    let help = "Time that compilations of modules took, of those that failed too.";
    let name = "portcullis_compile_duration_seconds";
    exposed.single(name, MetricKind::Histogram, help, compile::durations());
}
