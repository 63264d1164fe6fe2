//! Prometheus metrics of the stores that handlers use.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::Engine;
use crate::observe::exposition::{Exposition, Labels, MetricKind};
use crate::observe::latency::Histograms;
use crate::store::{KeyValue, OPERATIONS, SharedRate, SharedStore};

/// Writes the operations of each store that the serving handlers are granted, or in which limits count.
pub(in crate::http) fn stores(exposed: &mut Exposition, engine: &Engine) {
    let catalog = engine.live().pin();
    let granted = catalog.entries().flat_map(|entry| entry.grants.stores.iter());
    let granted = granted.map(|grant| &grant.store);
    let checks = catalog.routes.iter().filter_map(|route| route.checks.as_ref());
    let limits = checks.flat_map(|checks| checks.all_limits());
    let of_limits: Vec<&Arc<SharedStore>> =
        limits.filter_map(|limit| limit.shared.as_deref().map(SharedRate::store)).collect();
    let uncounted: BTreeMap<&str, u64> =
        of_limits.iter().map(|store| (store.options().name.as_str(), store.uncounted_requests())).collect();
    let stores: BTreeMap<&str, &Arc<SharedStore>> =
        granted.chain(of_limits).map(|store| (store.options().name.as_str(), store)).collect();
    if stores.is_empty() {
        return;
    }
    let help = "Whether a store is open. One that is not is opened by the next job that uses it.";
    let is_open = stores.iter().map(|(name, store)| (Labels::of("store", name), store.opened().is_some()));
    exposed.family("portcullis_store_open", MetricKind::Gauge, help, is_open);
    let help = "Operations that have failed because the store could not be opened.";
    let unopened = stores.iter().map(|(name, store)| (Labels::of("store", name), store.unopened()));
    exposed.family("portcullis_store_unopened_operations_total", MetricKind::Counter, help, unopened);
    let opened: Vec<(&str, &KeyValue)> =
        stores.iter().filter_map(|(name, store)| Some((*name, store.opened()?))).collect();
    let operations = || opened.iter().flat_map(|store| OPERATIONS.map(|operation| (*store, operation)));
    let help = "Operations of a store, by how they have ended.";
    let ended = operations().flat_map(|((name, store), (operation, word))| {
        let ended = store.counts(operation).ended();
        ended.map(|(end, count)| (Labels::of("store", name).and("operation", word).and("end", end), count))
    });
    exposed.family("portcullis_store_operations_total", MetricKind::Counter, help, ended);
    if !uncounted.is_empty() {
        let help = "Requests that rate limits counted in this daemon alone, because the store that counts them failed.";
        let uncounted = uncounted.iter().map(|(name, count)| (Labels::of("store", name), *count));
        exposed.family("portcullis_rate_limit_fallbacks_total", MetricKind::Counter, help, uncounted);
    }
    let help = "Time that operations of a store took, waiting included.";
    let times = operations().map(|((name, store), (operation, word))| {
        let time = store.counts(operation).time().as_secs_f64();
        (Labels::of("store", name).and("operation", word), time)
    });
    exposed.family("portcullis_store_seconds_total", MetricKind::Counter, help, times);
    let help = "Time that writes to a file waited until their commits began.";
    let waits = opened.iter().map(|(name, store)| (Labels::of("store", name), store.waited().as_secs_f64()));
    exposed.family("portcullis_store_wait_seconds_total", MetricKind::Counter, help, waits);
    if Histograms::current() == Histograms::Off {
        return;
    }
    let help = "Time that an operation of a store took, waiting included.";
    let durations = operations().filter_map(|((name, store), (operation, word))| {
        let durations = store.counts(operation).durations();
        (durations.count() > 0).then(|| (Labels::of("store", name).and("operation", word), durations))
    });
    let name = "portcullis_store_operation_duration_seconds";
    exposed.family(name, MetricKind::Histogram, help, durations);
}
