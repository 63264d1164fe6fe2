//! The jobs that run now.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::{Level, debug, enabled, info};

use crate::job::{Entry, Fault, Job, JobId, Kind, Status, Stop, StopReason};

/// A table of what runs, in several parts so that cores seldom meet at one lock.
#[derive(Default)]
pub(super) struct Running {
    parts: [Mutex<HashMap<JobId, Runner>>; 16],
    left: Notify,
}

struct Runner {
    entry: Arc<Entry>,
    stop: Stop,
    since: Instant,
    usage: Arc<Usage>,
}

/// What a job has used so far.
#[derive(Default)]
pub(super) struct Usage {
    /// Nanoseconds on a processor.
    cpu: AtomicU64,
}

/// A job that was running when somebody looked.
pub struct Sighting {
    /// Its number.
    pub id: JobId,
    /// What runs it.
    pub entry: Arc<Entry>,
    /// How long it has been running.
    pub age: Duration,
    /// How much of that it spent on a processor.
    pub cpu: Duration,
}

/// A job's place in the table. Dropping it without a conclusion means that the job was cancelled.
pub(super) struct Entered<'a> {
    table: &'a Running,
    id: JobId,
    kind: Kind,
    /// `hello(bob)`, if anybody listens.
    call: Option<String>,
    usage: Arc<Usage>,
    conclusion: Option<String>,
}

impl Running {
    /// Puts a job into the table and logs its start.
    pub(super) fn enter(&self, job: &Job) -> Entered<'_> {
        let usage = Arc::new(Usage::default());
        let runner = Runner {
            entry: job.entry.clone(),
            stop: job.stop.clone(),
            since: Instant::now(),
            usage: usage.clone(),
        };
        self.part(job.id).insert(job.id, runner);
        let kind = job.entry.kind;
        let call = logged(kind).then(|| job.to_string());
        if let Some(call) = &call {
            log(kind, format_args!("[{}] +job {call}", job.id));
        }
        Entered { table: self, id: job.id, kind, call, usage, conclusion: None }
    }

    fn part(&self, id: JobId) -> std::sync::MutexGuard<'_, HashMap<JobId, Runner>> {
        // Taken modulo the number of parts, so that neighbours in time are no neighbours in the table.
        let part = usize::try_from(id.0 % self.parts.len() as u64).unwrap_or_default();
        self.parts[part].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all<T>(&self, mut look: impl FnMut(JobId, &Runner) -> Option<T>) -> Vec<T> {
        let parts = self.parts.iter().map(|part| part.lock().unwrap_or_else(PoisonError::into_inner));
        parts
            .flat_map(|part| part.iter().filter_map(|(id, runner)| look(*id, runner)).collect::<Vec<_>>())
            .collect()
    }

    /// Lists the jobs, oldest first.
    pub(super) fn sightings(&self) -> Vec<Sighting> {
        let mut sightings = self.all(|id, runner| {
            let cpu = Duration::from_nanos(runner.usage.cpu.load(Ordering::Relaxed));
            Some(Sighting { id, entry: runner.entry.clone(), age: runner.since.elapsed(), cpu })
        });
        sightings.sort_by_key(|sighting| std::cmp::Reverse(sighting.age));
        sightings
    }

    /// Tells every job to stop and says how many there were.
    pub(super) fn stop_all(&self, reason: StopReason) -> usize {
        self.all(|_, runner| Some(runner.stop.clone())).iter().map(|stop| stop.raise(reason)).count()
    }

    /// Waits until no job runs.
    pub(super) async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            if self.all(|_, _| Some(())).is_empty() {
                return;
            }
            left.await;
        }
    }
}

impl Usage {
    /// Charges time on a processor and returns the sum.
    pub(super) fn spend(&self, time: Duration) -> Duration {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let before = self.cpu.fetch_add(time, Ordering::Relaxed);
        Duration::from_nanos(before.saturating_add(time))
    }
}

impl Entered<'_> {
    /// Returns the account to which the job's use is charged.
    pub(super) fn usage(&self) -> Arc<Usage> {
        self.usage.clone()
    }

    /// Notes how the job ended.
    pub(super) fn conclude(&mut self, outcome: &Result<Status, Fault>) {
        if self.call.is_some() {
            self.conclusion = Some(match outcome {
                Ok(status) => status.to_string(),
                Err(fault) => format!("{}: {fault}", fault.status()),
            });
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.table.part(self.id).remove(&self.id);
        self.table.left.notify_waiters();
        if let Some(call) = &self.call {
            let conclusion = self.conclusion.as_deref().unwrap_or("cancelled");
            log(self.kind, format_args!("[{}] -job {call} = {conclusion}", self.id));
        }
    }
}

/// Jobs of the daemon itself are few and logged; those of requests are many and shown in debug mode.
fn logged(kind: Kind) -> bool {
    match kind {
        Kind::Native => enabled!(Level::INFO),
        Kind::Core | Kind::Command => enabled!(Level::DEBUG),
    }
}

fn log(kind: Kind, line: std::fmt::Arguments<'_>) {
    match kind {
        Kind::Native => info!("{line}"),
        Kind::Core | Kind::Command => debug!("{line}"),
    }
}
