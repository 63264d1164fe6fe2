//! Prometheus metrics of the sets of keys that gates fetch.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::access::{FetchedKeySet, KeySetFigures};
use crate::observe::exposition::{Exposition, Labels, MetricKind};

/// Writes the state of each set, by the gate that it belongs to.
pub(in crate::http) fn key_sets(exposed: &mut Exposition, sets: &[Arc<FetchedKeySet>]) {
    if sets.is_empty() {
        return;
    }
    let sets: Vec<(&str, KeySetFigures)> =
        sets.iter().map(|set| (set.source.gate.as_str(), set.figures())).collect();
    let labels = |gate: &str| Labels::of("gate", gate);
    let help = "Keys of a gate that were fetched from its URL; 0 before the first fetch.";
    let keys = sets.iter().map(|(gate, figures)| (labels(gate), figures.keys));
    exposed.family("portcullis_jwks_keys", MetricKind::Gauge, help, keys);
    let help = "When the keys of a gate were fetched, in seconds since 1970; 0 before the first fetch.";
    let times = sets.iter().map(|(gate, figures)| {
        let time = figures.fetched.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        (labels(gate), time.unwrap_or_default().as_secs_f64())
    });
    exposed.family("portcullis_jwks_last_success_timestamp_seconds", MetricKind::Gauge, help, times);
    let help = "Fetches of the keys of a gate, by how they have ended.";
    let ends = sets.iter().flat_map(|(gate, figures)| {
        let ends = [("ok", figures.successes), ("failed", figures.failures)];
        ends.map(|(end, count)| (labels(gate).and("end", end), count))
    });
    exposed.family("portcullis_jwks_fetches_total", MetricKind::Counter, help, ends);
}
