//! Prometheus metrics of the databases that handlers use.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::database::SharedDatabase;
use crate::engine::Engine;
use crate::observe::exposition::{Exposition, Labels, MetricKind};
use crate::observe::latency::Histograms;

/// Writes the operations of each database that the serving handlers are granted.
pub(in crate::http) fn databases(exposed: &mut Exposition, engine: &Engine) {
    let catalog = engine.live().pin();
    let granted = catalog.entries().flat_map(|entry| entry.grants.databases.iter());
    let databases: BTreeMap<&str, &Arc<SharedDatabase>> =
        granted.map(|grant| (grant.database.options().name.as_str(), &grant.database)).collect();
    if databases.is_empty() {
        return;
    }
    let help = "Connections of a database that jobs have.";
    let in_use =
        databases.iter().map(|(name, database)| (Labels::of("database", name), database.in_use() as u64));
    exposed.family("portcullis_database_connections_in_use", MetricKind::Gauge, help, in_use);
    let operations =
        || databases.iter().flat_map(|(name, database)| database.counts().map(move |one| (*name, one)));
    let help = "Operations of a database, by how they have ended.";
    let ended = operations().flat_map(|(name, (operation, counts))| {
        counts.ended().map(move |(end, count)| {
            (Labels::of("database", name).and("operation", operation).and("end", end), count)
        })
    });
    exposed.family("portcullis_database_operations_total", MetricKind::Counter, help, ended);
    let help = "Time that operations of a database took, waiting included.";
    let times = operations().map(|(name, (operation, counts))| {
        (Labels::of("database", name).and("operation", operation), counts.time().as_secs_f64())
    });
    exposed.family("portcullis_database_seconds_total", MetricKind::Counter, help, times);
    let help = "Time that jobs waited for a connection.";
    let waits = databases
        .iter()
        .map(|(name, database)| (Labels::of("database", name), database.waited().as_secs_f64()));
    exposed.family("portcullis_database_wait_seconds_total", MetricKind::Counter, help, waits);
    if Histograms::current() == Histograms::Off {
        return;
    }
    let help = "Time that an operation of a database took, waiting included.";
    let durations = operations().filter_map(|(name, (operation, counts))| {
        let durations = counts.durations();
        (durations.count() > 0).then(|| (Labels::of("database", name).and("operation", operation), durations))
    });
    let name = "portcullis_database_operation_duration_seconds";
    exposed.family(name, MetricKind::Histogram, help, durations);
}
