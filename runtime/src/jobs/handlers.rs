//! `handlers`: the handlers of the live catalog with their counters, as a JSON array.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::api::{DurationBucket, HandlerReport, HandlersCommand};
use super::describe;
use super::reply::ReplyJob;
use crate::catalog::Catalog;
use crate::engine::Engine;
use crate::job::{HandlerStats, HandlerVersion, Job, Name};
use crate::observe::latency::{BOUNDS, LatencySnapshot};

/// Lists the handlers of this engine.
pub struct ListHandlers;

impl ReplyJob for ListHandlers {
    type Command = HandlersCommand;

    async fn answer(&self, engine: &Arc<Engine>, _job: &Job) -> Result<Vec<HandlerReport>> {
        let catalog = engine.live().pin();
        // One look at the table of jobs for all handlers.
        let mut running: HashMap<Name, RunningUsage> = HashMap::new();
        for job in engine.snapshots() {
            let usage = running.entry(job.entry.name.clone()).or_default();
            (usage.cpu, usage.memory) = (usage.cpu + job.cpu, usage.memory + job.memory);
        }
        // One look at the routes as well.
        let mut routes: HashMap<&Name, Vec<String>> = HashMap::new();
        for route in catalog.routes.iter() {
            if let Some(handler) = route.target.handler() {
                routes.entry(&handler.name).or_default().push(describe::route(route));
            }
        }
        let reports = catalog.handlers.values().map(|entry| {
            let running = running.get(&entry.name).copied().unwrap_or_default();
            report(entry, &catalog, running, routes.remove(&entry.name).unwrap_or_default())
        });
        Ok(reports.collect())
    }
}

/// The usage of the running jobs of a handler.
#[derive(Clone, Copy, Default)]
struct RunningUsage {
    cpu: Duration,
    memory: usize,
}

fn report(
    entry: &HandlerVersion,
    catalog: &Catalog,
    running: RunningUsage,
    routes: Vec<String>,
) -> HandlerReport {
    let (taken, most) = (entry.slots.taken(&entry.limits), entry.slots.most());
    let ended = entry.record.requests.ended();
    let mean = entry.record.requests.time().as_secs_f64() * 1000.0
        / f64::from(u32::try_from(ended).unwrap_or(u32::MAX));
    HandlerReport {
        name: entry.name.to_string(),
        kind: entry.kind.to_string(),
        version: entry.version.clone(),
        running: taken.running,
        waiting: taken.waiting,
        most_running: most.running,
        most_waiting: most.waiting,
        requests: ended,
        failures: entry.record.requests.failed(),
        reasons: entry.record.reasons().into_iter().collect(),
        answered_errors: entry.record.answered_errors(),
        mean_ms: (ended > 0).then_some((mean * 1000.0).round() / 1000.0),
        cpu_ms: (entry.record.cpu() + running.cpu).as_secs_f64() * 1000.0,
        memory: running.memory,
        durations: durations(&entry.record),
        limits: describe::limits(&entry.limits),
        peaks: entry.record.peaks.percent().collect(),
        private: routes.is_empty(),
        allow: describe::outbound(entry).0,
        asked: describe::asked(entry),
        routes,
        calls: describe::calls(entry),
        schedule: entry.schedule.as_ref().map(|schedule| describe::schedule(schedule, &entry.record)),
        trial: catalog.trials.get(&entry.name).map(describe::trial),
    }
}

/// Adds up the distributions of all routes of a version. Empty before its first request.
fn durations(stats: &HandlerStats) -> Vec<DurationBucket> {
    let mut all = LatencySnapshot::default();
    stats.routes.iter().for_each(|route| all.merge(&route.durations()));
    if all.count() == 0 {
        return Vec::new();
    }
    let bounds = BOUNDS.iter().map(|micros| Some(*micros as f64 / 1000.0)).chain([None]);
    bounds.zip(all.buckets()).map(|(up_to_ms, count)| DurationBucket { up_to_ms, count }).collect()
}
