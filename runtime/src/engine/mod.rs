//! The engine: finds jobs by name, makes them, runs them, and shuts down after the last one.
//!
//! Floors, lowest first: `calls`, `journal`, `slow_lane`, `nested_waits`, `panic`, `parse`, `registry`, `reported_end`;
//! `native`, `running`, `stderr_log`; `admission`, `drain`; `supervise`.

mod admission;
mod calls;
mod drain;
mod journal;
mod native;
mod nested_waits;
mod panic;
mod parse;
mod registry;
mod reported_end;
mod running;
mod slow_lane;
mod stderr_log;
mod supervise;

pub use admission::Budgets;
pub use calls::Occasion;
pub use drain::ShutdownOutcome;
pub use journal::{Batch, Event, Journal, JournalFollower, JournalLine};
pub use native::NativeJob;
#[cfg(test)]
pub(crate) use native::idle;
pub use registry::RegisterError;
pub use running::JobSnapshot;

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;

use crate::catalog::Live;
use crate::in_place;
use crate::job::{
    Capture, Env, Fault, HandlerVersion, Input, Job, JobId, Label, Name, Output, Run, Status, Stop,
    StopReason, Tail,
};
use crate::observe::history::History;
use crate::observe::traces::Tracing;
use drain::Drain;
use registry::Registry;
use reported_end::report_refused;
use running::Running;
use slow_lane::Lane;
use stderr_log::StderrLog;

/// Makes and runs jobs: built-in jobs from its registry, and handlers from the live catalog.
pub struct Engine {
    registry: Registry,
    live: Live,
    next: NextNumber,
    /// The budgets that all sandboxed jobs share.
    budgets: Budgets,
    /// Where jobs go that compute for long.
    lane: Lane,
    running: Running,
    journal: Arc<Journal>,
    history: Arc<History>,
    traces: Arc<Tracing>,
    drain: Drain,
    started: SystemTime,
}

/// The number of the next job. Each job changes it, so its cache line holds nothing that jobs only read.
#[repr(align(64))]
struct NextNumber(AtomicU64);

/// Why a job of the daemon itself failed.
#[derive(Debug)]
pub enum DaemonJobError {
    /// The job ended with an error status; the end of its stderr says why.
    Status(Status, Tail),
    /// The job did not run to its end.
    Fault(Fault),
}

impl Engine {
    /// Makes an engine without jobs that runs up to `total` sandboxed jobs at once.
    pub fn new(total: usize) -> Arc<Engine> {
        Engine::within(Budgets::of_jobs(total))
    }

    /// Makes an engine without jobs whose sandboxed jobs share these budgets.
    pub fn within(budgets: Budgets) -> Arc<Engine> {
        let first = RandomState::new().build_hasher().finish() << 32;
        let (journal, history) = (Arc::new(Journal::default()), Arc::new(History::default()));
        let failures = journal.clone();
        history.on_failure(move |id, handler, why| {
            let job = Label { id: JobId(id), parent: None };
            if let Ok(name) = handler.parse::<Name>() {
                failures.add(job, &name, Event::Failed(why));
            }
        });
        Arc::new(Engine {
            registry: Registry::default(),
            live: Live::new(),
            next: NextNumber(AtomicU64::new(first)),
            budgets,
            lane: Lane::default(),
            running: Running::default(),
            journal,
            history,
            traces: Arc::default(),
            drain: Drain::default(),
            started: SystemTime::now(),
        })
    }

    /// Adds a callback for shutdown, after the last job. Callbacks run concurrently.
    pub fn on_shutdown(&self, callback: impl Future<Output = ()> + Send + 'static) {
        self.drain.call_back(Box::pin(callback));
    }

    /// Waits until no job runs for which a shutdown would wait.
    pub async fn settled(&self) {
        self.running.emptied().await;
    }

    /// Stops the jobs of all handlers, and returns their number. Native jobs go on.
    pub fn stop_handlers(&self, reason: StopReason) -> usize {
        self.running.stop_handlers(reason)
    }

    /// Shuts the engine down. It refuses new jobs, waits up to `grace` for running jobs, stops the rest, runs the
    /// callbacks, and ends the followers of the journal and of the history. A second caller waits as well. Takes at
    /// most `grace` and 15 s.
    pub async fn shutdown(&self, grace: Duration) -> ShutdownOutcome {
        let outcome = self.drain.shutdown(&self.running, &self.journal, grace).await;
        self.history.close();
        outcome
    }

    /// Returns when the engine was made, which is when the daemon started.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// Returns the catalog pointer that requests pin and reloads publish to.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Returns the budgets that sandboxed jobs share.
    pub fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// Returns the registry of built-in jobs.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Makes a job. Its handler is resolved here: a later registration or swap does not change it.
    ///
    /// # Errors
    /// [`Fault::NotFound`]: no built-in job and no handler has the name.
    pub fn job(self: &Arc<Self>, name: &str) -> Result<Job, Fault> {
        let catalog = self.live.pin();
        let handler = || catalog.handlers.get(name).cloned();
        let entry = self.registry.find(name).or_else(handler);
        let mut job =
            entry.map(|entry| *self.job_of(entry)).ok_or_else(|| Fault::NotFound(name.to_owned()))?;
        self.grant(&mut job, &catalog);
        Ok(job)
    }

    /// Makes a job for an entry, as a request does with the entry of its route. The job stays in its box until it has
    /// ended: it is large, and each function and future that took it by value would copy it.
    pub fn job_of(&self, entry: Arc<HandlerVersion>) -> Box<Job> {
        /// About what a person reads at once, including the stack that runtimes write after the reason. Memory is
        /// taken as it is written.
        const STDERR_TAIL: usize = 16 << 10;
        let stderr_tail = Tail::new(STDERR_TAIL);
        in_place::boxed(|| Job {
            id: JobId(self.next.0.fetch_add(1, Ordering::Relaxed)),
            args: entry.args.clone(),
            env: Env::new(),
            stdin: Input::empty(),
            stdout: Output::nowhere(),
            stderr: Output::of(stderr_tail.destination()),
            proxied: None,
            stderr_tail,
            stop: Stop::new(),
            usage: Arc::default(),
            parent: None,
            origin: None,
            around: Vec::new(),
            caller: None,
            allotment: None,
            capture: entry.recorder.clone().map(Capture::new),
            trail: None,
            span: None,
            entry,
        })
    }

    /// Makes a job of a line such as `VERBOSE=1 echo hello`: words with `=` are variables, the first
    /// other word is the name, the rest are arguments.
    ///
    /// # Errors
    /// The line names no job or an unknown one, or a variable cannot be set.
    pub fn parse(self: &Arc<Self>, line: &str) -> anyhow::Result<Job> {
        let parsed = parse::line(line)?;
        let mut job = self.job(&parsed.name)?;
        job.args.extend(parsed.args);
        job.env.extend(&parsed.env);
        Ok(job)
    }

    /// Starts a job: waits for a slot, runs it within its limits, logs its start and end.
    ///
    /// Nothing happens before the first poll. Dropping the run ends the job and frees all its resources.
    ///
    /// A job runs once, enforced by the compiler:
    /// ```compile_fail
    /// # use portcullis::{engine::Engine, job::Job};
    /// # fn twice(engine: std::sync::Arc<Engine>, job: Box<Job>) {
    /// let first = engine.start(job);
    /// let second = engine.start(job);
    /// # }
    /// ```
    ///
    /// # Errors
    /// From the run: [`Fault::Busy`], [`Fault::Draining`], and any other fault of the job.
    pub fn start(self: &Arc<Self>, job: Box<Job>) -> Run {
        let engine = self.clone();
        in_place::pinned(|| async move {
            let (stderr_tail, capture) = (job.stderr_tail.clone(), job.capture.clone());
            let outcome = engine.admitted(job, &stderr_tail).await;
            let fault = match &outcome {
                Ok(status) if status.is_ok() => return outcome,
                Ok(status) => &Fault::Exited { status: *status, last_line: stderr_tail.last_line() },
                Err(fault) => fault,
            };
            capture.iter().for_each(|capture| capture.fail(fault));
            outcome
        })
    }

    /// Runs a job within its limits once it has a slot. The span is captured: the parameter of an `async fn` would be
    /// copied when the future is polled, and take its room twice.
    fn admitted(&self, mut job: Box<Job>, stderr_tail: &Tail) -> impl Future<Output = Result<Status, Fault>> {
        let mut span = job.span.take();
        async move {
            let admission = if let Err(draining) = self.drain.admits(&job) {
                Err(draining)
            } else {
                admission::admit(&job, &self.budgets, &self.running).await
            };
            let (slot, allotment) = admission.inspect_err(|fault| {
                // From here on, the entry in the table counts a failure.
                job.entry.record.count_failure(&job.usage.failure, fault.code());
                job.entry.record.latencies().refused(job.usage.timing.queue());
                report_refused(&job.entry, job.label(), &job.usage, (fault, span.take()));
            })?;
            job.allotment = allotment;
            job.usage.begin();
            job.stdin.read_by(&job.usage);
            if let Some(capture) = job.capture.clone() {
                capture.begin(&mut job);
            }
            let mut entered = self.running.enter(&job, stderr_tail, span, &self.journal);
            // Checked again, since a shutdown waits for this job only from here on.
            if let Err(fault) = self.drain.admits(&job) {
                let outcome = Err(fault);
                entered.conclude(&outcome, &job.usage.answer);
                return outcome;
            }
            // Dropped before `entered`, so the last stderr line is logged before the end of the job.
            let stderr_log = StderrLog::of(&job, &self.journal);
            job.stderr.add(stderr_log.clone());
            let usage = job.usage.clone();
            let mut outcome = supervise::run(job, &usage, slot, &self.lane).await;
            stderr_log.finish();
            if !matches!(outcome, Ok(Status::OK)) {
                let line = stderr_tail.last_line();
                match &mut outcome {
                    Err(Fault::Trapped { said, .. }) => {
                        *said = panic::message(&stderr_tail.text()).unwrap_or_default();
                    }
                    Err(Fault::OutOfMemory { last_line, .. }) => last_line.clone_from(&line),
                    Ok(_) | Err(_) => {}
                }
                usage.answer.failed(line);
            }
            entered.conclude(&outcome, &usage.answer);
            outcome
        }
    }

    /// Runs a job to its end and expects success.
    ///
    /// # Errors
    /// [`DaemonJobError::Status`] with the last line of the job's stderr, or [`DaemonJobError::Fault`].
    pub async fn run(self: &Arc<Self>, job: Job) -> Result<(), DaemonJobError> {
        let stderr_tail = job.stderr_tail.clone();
        match self.start(Box::new(job)).await {
            Ok(status) if status.is_ok() => Ok(()),
            Ok(status) => Err(DaemonJobError::Status(status, stderr_tail)),
            Err(fault) => Err(DaemonJobError::Fault(fault)),
        }
    }

    /// Runs a job in a task of its own. Dropping the handle does not end the job; aborting it does.
    pub fn spawn(self: &Arc<Self>, job: Job) -> JoinHandle<Result<(), DaemonJobError>> {
        let engine = self.clone();
        tokio::spawn(async move { engine.run(job).await })
    }

    /// Logs what a job writes to stdout as well, for a job whose response has no reader.
    pub fn log_stdout(&self, job: &mut Job) {
        job.stdout.add(StderrLog::of(job, &self.journal));
    }

    /// Lists the running jobs, oldest first. A listener is listed once it listens.
    pub fn snapshots(&self) -> Vec<JobSnapshot> {
        self.running.snapshots()
    }

    /// Returns the journal of recent stderr lines and outcomes.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Returns the history of ended jobs.
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Returns the tracer, if traces are on.
    pub fn traces(&self) -> &Arc<Tracing> {
        &self.traces
    }

    /// Tells a job to stop, without waiting for its end. Returns `false` if no such job runs.
    pub fn kill(&self, id: JobId) -> bool {
        self.running.stop(id, StopReason::Killed)
    }
}

impl fmt::Display for DaemonJobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DaemonJobError::Status(status, said) => match said.last_line() {
                line if line.is_empty() => write!(f, "exit status {}", status.0),
                line => f.write_str(&line),
            },
            DaemonJobError::Fault(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for DaemonJobError {}
