//! `status`: the state of the daemon, as a JSON object.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Result;
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::api::{AcmeReport, ServingProcess, StatusCommand, StatusReply};
use super::daemon_state::DaemonState;
use super::describe::millis;
use super::generations::Generations;
use super::reply::ReplyJob;
use super::sql;
use super::stores::reports;
use crate::access::{FetchedKeySet, KeySetFigures, KeySetSource};
use crate::catalog::Alive;
use crate::database::{DatabaseOptions, SharedDatabase};
use crate::engine::{Budgets, Engine};
use crate::job::{Job, Needs};
use crate::net::{DomainReport, Term};
use crate::observe::history::HistoryFigures;
use crate::observe::reloads::LastOutcomes;
use crate::observe::{build_versions, counted, resident};
use crate::wasm::cache::Figures;

/// Reports the state of this daemon.
pub struct TellStatus {
    /// The gate, the sockets and the configuration.
    pub state: Arc<DaemonState>,
    /// Holds the open stores.
    pub generations: Arc<Generations>,
    /// The address of the admin socket, if there is one.
    pub admin: Option<String>,
    /// The addresses of `observe`.
    pub observe: Vec<String>,
    /// How instances get their memory.
    pub allocation: String,
    /// The counters of the cache of compiled modules, if there is one.
    pub cache: Option<Arc<Figures>>,
    /// When the daemon started.
    pub started: Instant,
    /// The memory limit of all jobs, with its source.
    pub memory: String,
}

impl ReplyJob for TellStatus {
    type Command = StatusCommand;

    async fn answer(&self, engine: &Arc<Engine>, _job: &Job) -> Result<StatusReply> {
        let catalog = engine.live().pin();
        let listeners = self.state.sockets.listeners();
        let tls = self.state.tls();
        let Budgets { memory, descriptors, .. } = engine.budgets();
        let LastOutcomes { succeeded, refused, secrets_refused } = self.state.reloads.last();
        Ok(StatusReply {
            version: build_versions::VERSION.to_owned(),
            commit: build_versions::COMMIT.map(str::to_owned),
            process: ServingProcess { pid: std::process::id() },
            uptime_ms: millis(self.started.elapsed()),
            gate: self.state.server.gate.state().to_string(),
            generation: catalog.generation,
            published: engine.live().published().map(written),
            reloaded: succeeded.map(written),
            reload_refused: refused.map(failure),
            secrets_refused: secrets_refused.map(failure),
            generations_alive: Alive::count(),
            handlers: catalog.handlers.len(),
            routes: catalog.routes.len(),
            schedules: catalog.handlers.values().filter(|entry| entry.schedule.is_some()).count(),
            missed_runs: catalog.handlers.values().map(|entry| entry.record.missed()).sum(),
            listening: listeners.iter().map(|listener| listener.local().to_owned()).collect(),
            certificates: tls.iter().flat_map(|tls| tls.terms()).map(certificate).collect(),
            acme: tls.iter().filter_map(|tls| tls.acme()).flat_map(|acme| acme.reports()).map(acme).collect(),
            admin: self.admin.clone(),
            observe: self.observe.clone(),
            stores: reports(&self.state.config.load_full(), &self.generations).await,
            jobs: engine.snapshots().len(),
            memory: resident(),
            jobs_memory: format!("{} MiB of {}", (memory.used() * Needs::PAGE) >> 20, self.memory),
            jobs_descriptors: match descriptors.all() {
                Some(all) => format!("{} of {all}", descriptors.used()),
                None => descriptors.used().to_string(),
            },
            sandbox: self.allocation.clone(),
            databases: join_all(sql::databases(engine).into_values().map(database)).await,
            key_sets: self.state.config.load().key_sets().map(|set| key_set(set)).collect(),
            compile_cache: self.cache.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string),
            history: kept(engine.history().figures()),
            traces: engine.traces().describe(),
            loading: self.state.compiling(),
        })
    }
}

/// Describes how much of the history is used: `12 jobs, 9 KiB of 4096 KiB`.
fn kept(HistoryFigures { jobs, bytes, limit }: HistoryFigures) -> String {
    match limit {
        0 => "none".to_owned(),
        limit => format!("{}, {} KiB of {} KiB", counted(jobs, "job"), bytes >> 10, limit >> 10),
    }
}

/// Formats a time as the log does, to the second.
fn written(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Describes when and why something failed.
fn failure((time, why): (SystemTime, String)) -> String {
    format!("{}: {why}", written(time))
}

/// Describes a database: `app sqlite:/var/lib/app.sqlite, 1 of 8 connections in use`, and why it cannot be used.
async fn database(database: Arc<SharedDatabase>) -> String {
    let DatabaseOptions { name, url, connections, .. } = database.options();
    let trouble = database.trouble().await.map(|error| format!(": {error}")).unwrap_or_default();
    format!("{name} {url}, {} of {} in use{trouble}", database.in_use(), counted(*connections, "connection"))
}

/// Describes a set of keys: `staff https://id.example.org/jwks.json: 2 keys of 2027-01-31T12:00:00Z`.
fn key_set(set: &FetchedKeySet) -> String {
    let KeySetSource { gate, url, .. } = &set.source;
    let KeySetFigures { keys, fetched, failure, .. } = set.figures();
    let keys = fetched.map_or_else(
        || "no keys yet".to_owned(),
        |time| format!("{} of {}", counted(keys, "key"), written(time)),
    );
    let failure = failure.map(|why| format!("; the last fetch failed: {why}")).unwrap_or_default();
    format!("{gate} {url}: {keys}{failure}")
}

/// Describes when a certificate expires: `/etc/cert.pem until 2027-01-31 (68 days)`.
fn certificate(term: &Term) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let end = DateTime::from_timestamp(term.until, 0).map(|end| end.format("%Y-%m-%d").to_string());
    let (file, end) = (term.file.display(), end.unwrap_or_default());
    match u64::try_from(term.left()) {
        Ok(left) => format!("{file} until {end} ({})", counted(left / DAY, "day")),
        Err(_) => format!("{file} until {end} (expired)"),
    }
}

/// Describes the certificate of a host that the daemon obtains itself.
fn acme(report: DomainReport) -> AcmeReport {
    const DAY: i64 = 24 * 60 * 60;
    let DomainReport { domain, term, next, error, .. } = report;
    AcmeReport {
        domain,
        days_left: term.map(|term| term.left().div_euclid(DAY)),
        next: (next > SystemTime::now()).then(|| written(next)),
        error: error.map(failure),
    }
}
