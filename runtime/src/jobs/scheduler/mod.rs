//! `runschedules`: runs each handler with a schedule when its time has come, until the daemon drains.
//!
//! Floors, lowest first: `timetable`, which knows what is due; the job in this file.

mod timetable;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use chrono::{SecondsFormat, Utc};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::warn;

use crate::catalog::Catalog;
use crate::engine::{Engine, NativeJob, Occasion};
use crate::job::{EnvError, Fault, HandlerVersion, Input, Job, Name, Overlap, Run, Status, Time};
use crate::net::Gate;
use crate::observe::traces::JobTrigger;
use timetable::{DueRun, Timetable};

/// The longest sleep: the wall clock may be set and the catalog replaced meanwhile, and a timer follows neither.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Runs the schedules of the live catalog.
pub struct RunSchedules {
    /// Nothing runs before it is open, or once the daemon drains.
    pub gate: Gate,
    /// Whether a job follows them already: a second one would run everything twice.
    pub followed: AtomicBool,
}

/// The runs in progress, by handler.
#[derive(Default)]
struct ScheduledRuns(HashMap<Name, Vec<JoinHandle<Result<Status, Fault>>>>);

impl NativeJob for RunSchedules {
    fn run(self: Arc<Self>, engine: Arc<Engine>, job: Job) -> Run {
        Box::pin(async move {
            if self.followed.swap(true, Ordering::Relaxed) {
                job.stderr.write_all("running already\n").await.map_err(|_| Fault::ReaderGone)?;
                return Ok(Status::ERROR);
            }
            let _followed = SchedulerGuard(&self.followed);
            tokio::select! {
                () = self.follow(&engine) => Ok(Status::OK),
                reason = job.stop.raised() => {
                    warn!("schedules stop until the job runschedules is started again");
                    Err(Fault::Stopped(reason))
                }
            }
        })
    }
}

/// Lets another job follow the schedules when dropped.
struct SchedulerGuard<'a>(&'a AtomicBool);

impl Drop for SchedulerGuard<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl RunSchedules {
    async fn follow(&self, engine: &Arc<Engine>) {
        if self.gate.opened().await.is_err() {
            // The daemon drains and was never open.
            return;
        }
        let (mut table, mut runs) = (Timetable::default(), ScheduledRuns::default());
        loop {
            let catalog = engine.live().pin();
            let now = Utc::now();
            runs.forget_ended();
            for due in table.advance(catalog.handlers.values(), now) {
                runs.pass(engine, &catalog, due);
            }
            let next = table.next().and_then(|next| (next - Utc::now()).to_std().ok());
            drop(catalog);
            tokio::select! {
                () = sleep(next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)) => {}
                () = self.gate.draining() => return,
            }
        }
    }
}

impl ScheduledRuns {
    /// Drops the runs that have ended, and the handlers without a run in progress.
    fn forget_ended(&mut self) {
        self.0.retain(|_, runs| {
            runs.retain(|run| !run.is_finished());
            !runs.is_empty()
        });
    }

    /// Runs what is due, and counts what is missed.
    fn pass(&mut self, engine: &Arc<Engine>, catalog: &Arc<Catalog>, due: DueRun) {
        let DueRun { entry, at, mut missed } = due;
        let runs = self.0.entry(entry.name.clone()).or_default();
        let overlap = entry.schedule.as_ref().map_or(Overlap::Refused, |schedule| schedule.overlap);
        match at {
            Some(_) if overlap == Overlap::Refused && !runs.is_empty() => {
                missed += 1;
                warn!("{}: a scheduled run is missed: the previous one still runs", entry.name);
            }
            Some(at) => {
                let (version, ballot) = catalog.pick(&entry);
                match job(engine, catalog, version, at) {
                    Ok(job) => {
                        let engine = engine.clone();
                        let run = async move { engine.attend(job, Occasion::Schedule, ballot).await };
                        runs.push(tokio::spawn(run));
                    }
                    Err(error) => warn!("{}: a scheduled run is missed: {error}", entry.name),
                }
            }
            None => {
                warn!("{}: {missed} scheduled runs are missed: the clock has jumped ahead", entry.name)
            }
        }
        entry.record.miss(missed);
    }
}

/// Makes the job of a run.
fn job(
    engine: &Arc<Engine>,
    catalog: &Arc<Catalog>,
    entry: &Arc<HandlerVersion>,
    at: Time,
) -> Result<Box<Job>, EnvError> {
    let mut job = engine.job_of(entry.clone());
    if let Some(schedule) = &entry.schedule {
        job.args.extend(schedule.args.iter().cloned());
        job.stdin = Input::from(Bytes::from(schedule.stdin.clone()));
    }
    job.env.set("REQUEST_ID", job.id.to_string())?;
    job.env.set("JOB_ID", job.id.to_string())?;
    job.env.set("SCHEDULED_FOR", at.to_rfc3339_opts(SecondsFormat::Secs, true))?;
    if let Some(tracer) = engine.traces().current() {
        job.trace(tracer.begin(None, JobTrigger::Timer));
    }
    job.set_trace_variables()?;
    job.env.extend(&job.entry.env);
    // The output has no reader, so it is logged.
    engine.log_stdout(&mut job);
    engine.grant(&mut job, catalog);
    Ok(job)
}
