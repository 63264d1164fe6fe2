//! `handlers`: the handlers of the live catalog with their counters, as a JSON array.

use std::sync::Arc;

use anyhow::Result;

use super::api::{HandlerReport, HandlersCommand};
use super::describe;
use super::reply::ReplyJob;
use crate::catalog::{Catalog, Route};
use crate::engine::Engine;
use crate::job::{HandlerVersion, Job};

/// Lists the handlers of this engine.
pub struct ListHandlers;

impl ReplyJob for ListHandlers {
    type Command = HandlersCommand;

    async fn answer(&self, engine: &Arc<Engine>, _job: &Job) -> Result<Vec<HandlerReport>> {
        let catalog = engine.live().pin();
        Ok(catalog.handlers.values().map(|entry| report(entry, &catalog)).collect())
    }
}

fn report(entry: &HandlerVersion, catalog: &Catalog) -> HandlerReport {
    let taken = entry.slots.taken(&entry.limits);
    let leads_here = |route: &&Route| route.handler.name == entry.name;
    let routes: Vec<String> = catalog.routes.iter().filter(leads_here).map(describe::route).collect();
    let ended = entry.record.requests.ended();
    let mean = entry.record.requests.time().as_secs_f64() * 1000.0
        / f64::from(u32::try_from(ended).unwrap_or(u32::MAX));
    HandlerReport {
        name: entry.name.to_string(),
        kind: entry.kind.to_string(),
        version: entry.version.clone(),
        running: taken.running,
        waiting: taken.waiting,
        requests: ended,
        failures: entry.record.requests.failed(),
        reasons: entry.record.reasons().into_iter().collect(),
        mean_ms: (ended > 0).then_some((mean * 1000.0).round() / 1000.0),
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
