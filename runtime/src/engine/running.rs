//! The table of running jobs.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use tokio::sync::Notify;
use tracing::{Level, debug, enabled, info};

use super::journal::{Event, Journal};
use super::nested_waits::NestedWaits;
use super::reported_end::{EndText, FinalUsage, ReportedEnd};
use crate::job::{
    AnswerProgress, Fault, HandlerVersion, Job, JobId, Kind, Label, OnDrain, Status, Stop, StopReason, Tail,
    Usage, Used, WrittenBytes,
};
use crate::observe::history::VersionHistory;
use crate::observe::traces::OpenSpan;

/// The table of running jobs, split into several parts so cores seldom contend for one lock.
#[derive(Default)]
pub(super) struct Running {
    parts: [RunningPart; 16],
    left: Notify,
    /// Whether anybody has waited for jobs to leave. Telling nobody would cost each job a lock that all jobs share.
    is_awaited: AtomicBool,
    /// The jobs that wait for a slot while others wait for them.
    pub(super) nested: NestedWaits,
}

/// A part of the table. Other parts are used at the same time, so its cache line is not theirs.
#[derive(Default)]
#[repr(align(64))]
struct RunningPart(Mutex<Runners>);

/// Jobs by number. The engine counts the numbers up, so no client can choose a collision and a fast hash will do.
type Runners = HashMap<JobId, Runner, RandomState>;

struct Runner {
    entry: Arc<HandlerVersion>,
    stop: Stop,
    since: Instant,
    usage: Arc<Usage>,
    written: WrittenBytes,
    parent: Option<JobId>,
    origin: Option<IpAddr>,
}

impl Runner {
    /// Records that the job has ended, and how near it came to its limits. Returns what it has used.
    fn end<'a>(&'a self, stderr_tail: &'a Tail) -> FinalUsage<'a> {
        let Runner { entry, usage, since, written, .. } = self;
        let now = Instant::now();
        usage.timing.end(now);
        let (parts, written) = (usage.timing.durations(now), written.bytes());
        entry.record.latencies().ended(parts);
        let used = Used { usage, time: now.saturating_duration_since(*since), written };
        let shares = entry.record.peaks.note(&entry.limits, used);
        FinalUsage { usage, stderr_tail, started: *since, ended: now, parts, written, shares }
    }
}

/// The kind of job that wants a slot.
#[derive(Clone, Copy)]
pub(super) enum Wanting {
    /// A job whose address has no more than its share.
    Other,
    /// A job of this address, which has more.
    Crowd(IpAddr),
}

/// How long a job must have waited for a slow client before it is ended to make room for another address. Any
/// client on a working link has moved some data by then.
const FOR_OTHERS: Duration = Duration::from_secs(2);

/// The same for a job of its own address, which may stand for many clients behind one NAT.
const FOR_ITS_OWN: Duration = Duration::from_secs(8);

/// A snapshot of a running job.
pub struct JobSnapshot {
    /// Its number.
    pub id: JobId,
    /// Its entry.
    pub entry: Arc<HandlerVersion>,
    /// How long it has been running.
    pub age: Duration,
    /// Its CPU time.
    pub cpu: Duration,
    /// Its memory in bytes; 0 for a native job.
    pub memory: usize,
    /// Bytes it has written to stdout.
    pub written: u64,
    /// The job that called it, or `None`.
    pub parent: Option<JobId>,
}

/// A job's entry in the table. Its drop counts a failed job. A job that is dropped before `conclude` counts as
/// cancelled.
pub(super) struct RunningGuard<'a> {
    table: &'a Running,
    journal: &'a Journal,
    stderr_tail: &'a Tail,
    label: Label,
    kind: Kind,
    on_drain: OnDrain,
    /// The bytes of its stderr that are logged.
    stderr: u64,
    /// `hello(bob)`, if the job is logged.
    call: Option<String>,
    end: ReportedEnd,
    /// The span of the job, if it is traced.
    span: Option<OpenSpan>,
}

impl Running {
    /// Adds a job to the table and logs its start.
    pub(super) fn enter<'a>(
        &'a self,
        job: &Job,
        stderr_tail: &'a Tail,
        span: Option<OpenSpan>,
        journal: &'a Journal,
    ) -> RunningGuard<'a> {
        let since = Instant::now();
        job.usage.timing.begin(since);
        let runner = Runner {
            entry: job.entry.clone(),
            stop: job.stop.clone(),
            since,
            usage: job.usage.clone(),
            written: job.stdout.look(),
            parent: job.parent,
            origin: job.origin,
        };
        if job.entry.history.as_ref().is_some_and(VersionHistory::is_wanted) {
            job.usage.ends.keep_calls();
        }
        self.part(job.id).insert(job.id, runner);
        let (kind, on_drain, stderr) = (job.entry.kind, job.entry.policy.on_drain, job.entry.limits.stderr);
        let call = logged(kind).then(|| job.to_string());
        if let Some(call) = &call {
            log(kind, format_args!("[{}] +job {call}", job.label()));
        }
        RunningGuard {
            table: self,
            journal,
            stderr_tail,
            label: job.label(),
            kind,
            on_drain,
            stderr,
            call,
            end: ReportedEnd::Cancelled,
            span,
        }
    }

    fn part(&self, id: JobId) -> std::sync::MutexGuard<'_, Runners> {
        // Consecutive jobs are in different parts, since the part is the number modulo the number of parts.
        let part = usize::try_from(id.0 % self.parts.len() as u64).unwrap_or_default();
        self.parts[part].0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all<T>(&self, mut look: impl FnMut(JobId, &Runner) -> Option<T>) -> Vec<T> {
        let parts = self.parts.iter().map(|part| part.0.lock().unwrap_or_else(PoisonError::into_inner));
        parts
            .flat_map(|part| part.iter().filter_map(|(id, runner)| look(*id, runner)).collect::<Vec<_>>())
            .collect()
    }

    /// Lists the jobs, oldest first. A listener is listed once it misses no event.
    pub(super) fn snapshots(&self) -> Vec<JobSnapshot> {
        let is_listed = |runner: &Runner| !runner.entry.policy.is_listener || runner.usage.listens();
        let mut snapshots = self.all(|id, runner| {
            is_listed(runner).then(|| JobSnapshot {
                id,
                entry: runner.entry.clone(),
                age: runner.since.elapsed(),
                cpu: runner.usage.cpu(),
                memory: runner.usage.memory(),
                written: runner.written.bytes(),
                parent: runner.parent,
            })
        });
        snapshots.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.age));
        snapshots
    }

    /// Tells a job to stop. Returns `false` if it does not run.
    pub(super) fn stop(&self, id: JobId, reason: StopReason) -> bool {
        let stop = self.part(id).get(&id).map(|runner| runner.stop.clone());
        stop.iter().for_each(|stop| stop.raise(reason));
        stop.is_some()
    }

    /// Ends the job of this handler whose slow client has kept it waiting the longest. Candidates are jobs of
    /// addresses with more slots than their share, or of the crowding address itself. A job that does not wait
    /// now is left alone. A callee waits for its caller, so the client of the root job counts.
    pub(super) fn make_room(&self, entry: &HandlerVersion, wanting: Wanting) {
        let candidates = self.all(|id, Runner { entry: other, origin, usage, .. }| {
            let is_of_the_handler = Arc::ptr_eq(&other.slots.running, &entry.slots.running);
            let origin = origin.filter(|_| is_of_the_handler && other.limits.make_room())?;
            let patience = match wanting {
                Wanting::Other if other.limits.is_too_much(other.slots.peers.running(origin)) => FOR_OTHERS,
                Wanting::Crowd(crowd) if crowd == origin => FOR_ITS_OWN,
                Wanting::Other | Wanting::Crowd(_) => return None,
            };
            usage.waits.is_waiting().then_some((id, patience))
        });
        let lagging = candidates.into_iter().filter_map(|(id, patience)| {
            let lagging = self.lag_of_client(id)?;
            Some(lagging).filter(|(lag, stop, _)| *lag >= patience && stop.reason().is_none())
        });
        if let Some((_, stop, usage)) = lagging.max_by_key(|(lag, ..)| *lag) {
            stop.raise(StopReason::OutOfShare);
            usage.waits.give_up();
        }
    }

    /// Returns how far the client behind a job lags, with the job at the root that serves it.
    fn lag_of_client(&self, mut id: JobId) -> Option<(Duration, Stop, Arc<Usage>)> {
        loop {
            let part = self.part(id);
            let runner = part.get(&id)?;
            match runner.parent {
                Some(parent) => id = parent,
                None if runner.entry.limits.make_room() => {
                    return Some((runner.usage.waits.lag()?, runner.stop.clone(), runner.usage.clone()));
                }
                None => return None,
            }
        }
    }

    /// Tells every job to stop for which a shutdown waits, and returns their number.
    pub(super) fn stop_all(&self, reason: StopReason) -> usize {
        self.stop_each(reason, waited_for)
    }

    /// Tells every job of a handler to stop, and returns their number.
    pub(super) fn stop_handlers(&self, reason: StopReason) -> usize {
        self.stop_each(reason, |runner| runner.entry.kind != Kind::Native)
    }

    fn stop_each(&self, reason: StopReason, is_meant: impl Fn(&Runner) -> bool) -> usize {
        let stops = self.all(|_, runner| is_meant(runner).then(|| runner.stop.clone()));
        stops.iter().map(|stop| stop.raise(reason)).count()
    }

    /// Waits until no job runs for which a shutdown waits.
    pub(super) async fn emptied(&self) {
        // Before the table is read: a job that is found there sees this when it has left.
        self.is_awaited.store(true, Ordering::Release);
        loop {
            let left = self.left.notified();
            if self.all(|_, runner| waited_for(runner).then_some(())).is_empty() {
                return;
            }
            left.await;
        }
    }
}

impl RunningGuard<'_> {
    /// Records how the job ended, and how far its answer had come.
    pub(super) fn conclude(&mut self, outcome: &Result<Status, Fault>, answer: &AnswerProgress) {
        let unremarkable = matches!(outcome, Ok(Status::OK)) && self.call.is_none() && !self.is_journaled();
        self.end = match outcome {
            Ok(_) if unremarkable => ReportedEnd::Unremarkable,
            Ok(status) if status.is_ok() => ReportedEnd::Well(status.to_string()),
            Ok(status) => ReportedEnd::exited(*status, answer),
            Err(fault) => ReportedEnd::fault(fault, answer, self.stderr),
        };
    }

    /// Returns `true` if the journal records a successful job: a built-in job that did something, or any job
    /// while there are followers. A failed job is always recorded. A successful request takes no shared lock.
    fn is_journaled(&self) -> bool {
        let works = self.kind == Kind::Native && self.on_drain == OnDrain::Wait;
        works || self.journal.is_followed()
    }
}

impl Drop for RunningGuard<'_> {
    fn drop(&mut self) {
        let runner = self.table.part(self.label.id).remove(&self.label.id);
        if self.table.is_awaited.load(Ordering::Acquire) {
            self.table.left.notify_waiters();
        }
        let end = std::mem::replace(&mut self.end, ReportedEnd::Unremarkable);
        let stopped = runner.as_ref().and_then(|runner| runner.stop.reason());
        self.tell(&end.text(stopped), runner.as_ref());
        if let Some(runner) = runner.filter(|_| self.kind != Kind::Native) {
            end.report(&runner.entry, self.label, (stopped, self.span.take()), &runner.end(self.stderr_tail));
        }
    }
}

impl RunningGuard<'_> {
    /// Counts a failure, and tells the log and the journal.
    fn tell(&self, EndText { told, failed, code }: &EndText<'_>, runner: Option<&Runner>) {
        if told.is_empty() {
            return;
        }
        if let (Some(Runner { entry, usage, .. }), Some(code)) = (runner, code) {
            entry.record.count_failure(&usage.failure, code);
        }
        if let Some(call) = &self.call {
            log(self.kind, format_args!("[{}] -job {call} = {told}", self.label));
        }
        if let Some(Runner { entry, .. }) = runner.filter(|_| *failed || self.is_journaled()) {
            self.journal.add(self.label, &entry.name, Event::Ended((*told).to_owned()));
        }
    }
}

fn waited_for(runner: &Runner) -> bool {
    match runner.entry.policy.on_drain {
        OnDrain::Wait => true,
        OnDrain::Ignore => false,
    }
}

/// Built-in jobs are few and logged. Jobs of requests are many and logged at debug level only.
fn logged(kind: Kind) -> bool {
    match kind {
        Kind::Native => enabled!(Level::INFO),
        Kind::Core | Kind::Command | Kind::Proxy => enabled!(Level::DEBUG),
    }
}

fn log(kind: Kind, line: std::fmt::Arguments<'_>) {
    match kind {
        Kind::Native => info!("{line}"),
        Kind::Core | Kind::Command | Kind::Proxy => debug!("{line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::idle;
    use crate::job::FromClient;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_called_job_is_not_ended_for_its_callers_pace_but_the_caller_for_its_clients() {
        let origin: IpAddr = "192.0.2.1".parse().unwrap();
        let engine = idle::engine();
        let (mut caller, mut called) = (engine.job("idle").unwrap(), engine.job("idle").unwrap());
        (caller.origin, called.origin, called.parent) = (Some(origin), Some(origin), Some(caller.id));
        let table = Running::default();
        let _entered =
            [&caller, &called].map(|job| table.enter(job, &job.stderr_tail, None, engine.journal()));

        called.usage.waits.begin(FromClient::Room);
        advance(Duration::from_secs(60)).await;
        table.make_room(&called.entry, Wanting::Crowd(origin));

        assert_eq!((caller.stop.reason(), called.stop.reason()), (None, None));
        caller.usage.waits.begin(FromClient::Room);
        advance(FOR_ITS_OWN).await;
        table.make_room(&called.entry, Wanting::Crowd(origin));
        assert_eq!((caller.stop.reason(), called.stop.reason()), (Some(StopReason::OutOfShare), None));
    }
}
