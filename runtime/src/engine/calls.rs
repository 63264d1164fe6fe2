//! Calls between jobs: a tree of jobs that starts at one request and shares one set of limits.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use http::HeaderValue;
use tokio::runtime::Handle;
use tracing::warn;

use super::Engine;
use crate::catalog::{Ballot, Catalog};
use crate::job::{
    AnswerStage, CallError, CallRequest, Callee, Destination, EnvError, Fault, HandlerVersion, Job,
    JobCaller, JobId, Output, Status, Tail, Usage, WORDS, feed, pipe_of,
};
use crate::observe::brief;
use crate::observe::traces::JobTrigger;

/// The maximum depth of nested calls. The job of the request has depth 0.
const DEEPEST: usize = 4;

/// The maximum number of jobs that one request may start, over its whole tree.
const MAX: usize = 64;

/// The capacity of each pipe between caller and callee, in bytes: the default of a pipe, pipe(7).
const PIPE: usize = 64 << 10;

/// The calls of one job.
struct Calls {
    engine: Arc<Engine>,
    /// The catalog of the whole tree. A reload or swap during the request does not change it.
    catalog: Arc<Catalog>,
    /// The entries of the jobs from the root to this job, outermost first.
    line: Vec<Arc<HandlerVersion>>,
    /// The middlewares that wait for the root, outermost first.
    around: Vec<Arc<HandlerVersion>>,
    id: JobId,
    root: JobId,
    /// The client address for which every job of the tree counts.
    origin: Option<IpAddr>,
    /// The `CDN-Loop` field of the request at the root. Outbound requests of every job in the tree extend
    /// it.
    trail: Option<HeaderValue>,
    /// The caller, as far as its spans are concerned.
    usage: Arc<Usage>,
    /// The number of jobs that the tree may still start.
    left: Arc<AtomicUsize>,
    /// The server's runtime. A job with mounts is polled inside another runtime, which has one worker for
    /// its files.
    home: Handle,
}

/// Why a job runs that does not answer a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Occasion {
    /// Another job called it. The run counts as a request.
    Call,
    /// Its schedule is due.
    Schedule,
}

impl Engine {
    /// Lets a root job call the handlers that its own handler is granted, in the versions of this catalog.
    /// Does nothing for a handler without grants.
    pub fn grant(self: &Arc<Self>, job: &mut Job, catalog: &Arc<Catalog>) {
        if job.entry.calls.is_empty() {
            return;
        }
        job.caller = Some(Box::new(Calls {
            engine: self.clone(),
            catalog: catalog.clone(),
            line: vec![job.entry.clone()],
            around: job.around.clone(),
            id: job.id,
            root: job.id,
            origin: job.origin,
            trail: job.trail.clone(),
            usage: job.usage.clone(),
            left: Arc::new(AtomicUsize::new(MAX)),
            home: Handle::current(),
        }));
    }
}

impl JobCaller for Calls {
    fn call(&self, wanted: CallRequest) -> Result<Callee, CallError> {
        let (entry, ballot) = self.find(&wanted.name)?;
        self.check_slots(&entry)?;
        // Counted last, so only jobs that start are counted.
        let take = |left: usize| left.checked_sub(1);
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map_err(|_| CallError::TooMany { max: MAX })?;

        let mut job = self.engine.job_of(entry.clone());
        job.args.extend(wanted.args);
        job.env = wanted.env;
        if let Some(span) = self.usage.spans.innermost() {
            // A guest that makes its own spans may name one of them.
            let place = span.or_named(job.env.get("TRACEPARENT"));
            job.trace(place.open(JobTrigger::Call));
        }
        self.set_env(&mut job).map_err(|error| CallError::Malformed(error.to_string()))?;
        job.parent = Some(self.id);
        job.origin = self.origin;
        job.around = self.around.iter().chain(&self.line).cloned().collect();
        job.trail = self.trail.clone();
        let (stdin, input) = feed(PIPE, entry.limits.body);
        job.stdin = input;
        let (writer, stdout) = pipe_of(&job.usage, PIPE);
        let writer: Arc<dyn Destination> = Arc::new(writer);
        job.stdout = Output::to(vec![writer]);
        if !entry.calls.is_empty() {
            job.caller = Some(self.below(&job));
        }
        let (id, engine) = (job.id, self.engine.clone());
        // A task of its own: the callee goes on while its caller computes, and its CPU time is not charged
        // to its caller.
        Ok(Callee::new(
            id,
            stdin,
            stdout,
            self.home.spawn(async move { engine.attend(job, Occasion::Call, ballot).await }),
        ))
    }
}

impl Calls {
    /// Finds the version of the handler that answers, if the job may call it.
    fn find(&self, name: &str) -> Result<(Arc<HandlerVersion>, Option<Ballot>), CallError> {
        let caller = self.line.last().expect("the job itself is in its line");
        if !caller.calls.iter().any(|granted| granted.as_str() == name) {
            return Err(CallError::NotGranted { caller: caller.name.clone(), wanted: name.to_owned() });
        }
        // The name is looked up in the catalog, never in the registry: no grant leads to a built-in job.
        let entry = self.catalog.handlers.get(name).ok_or_else(|| CallError::NotFound(name.to_owned()))?;
        if self.line.len() > DEEPEST {
            return Err(CallError::TooDeep { wanted: entry.name.clone(), max: DEEPEST });
        }
        let (entry, ballot) = self.catalog.pick(entry);
        Ok((entry.clone(), ballot))
    }

    /// Refuses a call that would wait for slots which only its own callers hold: a deadlock.
    fn check_slots(&self, entry: &HandlerVersion) -> Result<(), CallError> {
        let same = |other: &&Arc<HandlerVersion>| Arc::ptr_eq(&other.slots.running, &entry.slots.running);
        let (own, total) = (self.line.iter().filter(same).count(), self.line.len());
        let deadlock = |key| Err(CallError::Deadlock { wanted: entry.name.clone(), key });
        if own >= entry.limits.concurrency {
            return deadlock(format!("handler.{}.limits.concurrency", entry.name));
        }
        if self.engine.budgets.places.all().is_some_and(|all| total >= all) {
            return deadlock("jobs".to_owned());
        }
        Ok(())
    }

    /// Sets the request's facts over the caller's variables, and the configured variables over both. A
    /// caller can override neither.
    fn set_env(&self, job: &mut Job) -> Result<(), EnvError> {
        job.env.set("REQUEST_ID", self.root.to_string())?;
        job.env.set("JOB_ID", job.id.to_string())?;
        job.env.set("JOB_PARENT", self.id.to_string())?;
        job.set_trace_variables()?;
        job.env.extend(&job.entry.env);
        Ok(())
    }

    fn below(&self, job: &Job) -> Box<dyn JobCaller> {
        let mut line = self.line.clone();
        line.push(job.entry.clone());
        Box::new(Calls {
            engine: self.engine.clone(),
            catalog: self.catalog.clone(),
            line,
            around: self.around.clone(),
            id: job.id,
            root: self.root,
            origin: self.origin,
            trail: self.trail.clone(),
            usage: job.usage.clone(),
            left: self.left.clone(),
            home: self.home.clone(),
        })
    }
}

impl Engine {
    /// Runs a job without a client. Its outcome goes to its record, the log and, during a trial, the
    /// `ballot`.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub async fn attend(
        self: &Arc<Self>,
        job: Box<Job>,
        occasion: Occasion,
        mut ballot: Option<Ballot>,
    ) -> Result<Status, Fault> {
        // The latency of scheduled runs is not judged, since no caller waits for them.
        let awaited = ballot.iter_mut().filter(|_| occasion == Occasion::Call);
        awaited.for_each(|ballot| ballot.begins(&job.usage));
        let (label, entry, stderr_tail) = (job.label(), job.entry.clone(), job.stderr_tail.clone());
        let start = Instant::now();
        let outcome = self.start(job).await;
        let well = matches!(outcome, Ok(Status::OK));
        let ends = match occasion {
            Occasion::Call => &entry.record.requests,
            Occasion::Schedule => &entry.record.runs,
        };
        if well {
            ends.succeed(start.elapsed())
        } else {
            ends.fail(start.elapsed())
        }
        if let Some(ballot) = ballot {
            match &outcome {
                Ok(Status::OK) => ballot.answered(),
                Err(fault) if !fault.is_about_the_handler() => ballot.withdrawn(),
                Ok(_) | Err(_) => ballot.failed(),
            }
        }
        if let Some(told) = complaint(&entry, &outcome, &stderr_tail) {
            warn!("[{label}] {}@{} {told}", entry.name, entry.version);
        }
        outcome
    }
}

/// Returns the log message for an outcome, or `None` for success.
fn complaint(entry: &HandlerVersion, outcome: &Result<Status, Fault>, stderr_tail: &Tail) -> Option<String> {
    let (whole, short, stack) = match outcome {
        Ok(Status::OK) => return None,
        Ok(status) => {
            let short = format!("ended with exit status {}", status.0);
            match stderr_tail.last_line() {
                line if line.is_empty() => (short.clone(), short, ""),
                line => (format!("{short}: {}", brief(line, WORDS)), short, ""),
            }
        }
        Err(fault) => {
            let told = fault.at(AnswerStage::Unasked);
            (told.to_string(), told.without_words().to_string(), fault.stack())
        }
    };
    Some(entry.failure_text(whole, short, stack))
}
