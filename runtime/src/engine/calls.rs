//! Jobs that call jobs: a tree that grows from one request, within bounds that it shares.

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
    CallError, Callee, Caller, Destination, Entry, EnvError, Fault, Job, JobId, Output, Status, Tail, WORDS,
    Wanted, feed, pipe_of,
};
use crate::observe::brief;

/// How deep calls may be nested: the job of a request is at 0.
const DEEPEST: usize = 4;

/// Jobs that one request may start, over its whole tree.
const MOST: usize = 64;

/// Bytes that either side may be ahead of the other: the default capacity of a pipe, pipe(7).
const PIPE: usize = 64 << 10;

/// What one job may call.
struct Calls {
    engine: Arc<Engine>,
    /// The generation of the tree: a reload or swap meanwhile changes nothing for it.
    catalog: Arc<Catalog>,
    /// The job's entry, behind those of the jobs that called it, outermost first.
    line: Vec<Arc<Entry>>,
    id: JobId,
    root: JobId,
    /// Whom every job of the tree counts for.
    origin: Option<IpAddr>,
    /// Who has passed on the request at the root: every job of the tree passes it on from there.
    trail: Option<HeaderValue>,
    /// How many jobs the tree may still start.
    left: Arc<AtomicUsize>,
    /// The runtime that serves. A job with mounts is polled with another one entered, whose one worker
    /// is for its files.
    home: Handle,
}

/// What a job is run for that is no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Occasion {
    /// Another job has called it: counted as a request is.
    Call,
    /// Its time has come.
    Schedule,
}

impl Engine {
    /// Lets a job that nobody called call what its handler is granted, in the versions of this
    /// catalog. A handler without grants costs nothing here.
    pub fn grant(self: &Arc<Self>, job: &mut Job, catalog: &Arc<Catalog>) {
        if job.entry.calls.is_empty() {
            return;
        }
        job.caller = Some(Box::new(Calls {
            engine: self.clone(),
            catalog: catalog.clone(),
            line: vec![job.entry.clone()],
            id: job.id,
            root: job.id,
            origin: job.origin,
            trail: job.trail.clone(),
            left: Arc::new(AtomicUsize::new(MOST)),
            home: Handle::current(),
        }));
    }
}

impl Caller for Calls {
    fn call(&self, wanted: Wanted) -> Result<Callee, CallError> {
        let (entry, ballot) = self.find(&wanted.name)?;
        self.check_slots(&entry)?;
        // Last, so that only what is started is counted.
        let take = |left: usize| left.checked_sub(1);
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map_err(|_| CallError::TooMany { most: MOST })?;

        let mut job = self.engine.job_of(entry.clone());
        job.args.extend(wanted.args);
        job.env = wanted.env;
        self.set_env(&mut job).map_err(|error| CallError::Malformed(error.to_string()))?;
        job.parent = Some(self.id);
        job.origin = self.origin;
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
        // A task of its own: it goes on while its caller computes, and its time on a processor is
        // not its caller's.
        Ok(Callee::new(
            id,
            stdin,
            stdout,
            self.home.spawn(async move { engine.attend(job, Occasion::Call, ballot).await }),
        ))
    }
}

impl Calls {
    /// Finds the version that answers, if the job may call it.
    fn find(&self, name: &str) -> Result<(Arc<Entry>, Option<Ballot>), CallError> {
        let caller = self.line.last().expect("the job itself is in its line");
        if !caller.calls.iter().any(|granted| granted.as_str() == name) {
            return Err(CallError::NotGranted { caller: caller.name.clone(), wanted: name.to_owned() });
        }
        // Of the catalog, never of the registry: no grant leads to a job of the daemon's own.
        let entry = self.catalog.handlers.get(name).ok_or_else(|| CallError::NotFound(name.to_owned()))?;
        if self.line.len() > DEEPEST {
            return Err(CallError::TooDeep { wanted: entry.name.clone(), most: DEEPEST });
        }
        let (entry, ballot) = self.catalog.pick(entry);
        Ok((entry.clone(), ballot))
    }

    /// Refuses what would wait for slots that only its own callers hold: nobody would ever leave one.
    fn check_slots(&self, entry: &Entry) -> Result<(), CallError> {
        let same = |other: &&Arc<Entry>| Arc::ptr_eq(&other.slots.running, &entry.slots.running);
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

    /// Puts the facts behind what the caller has set, and behind them what the handler is configured
    /// with: neither can be set by a caller.
    fn set_env(&self, job: &mut Job) -> Result<(), EnvError> {
        job.env.set("REQUEST_ID", self.root.to_string())?;
        job.env.set("JOB_ID", job.id.to_string())?;
        job.env.set("JOB_PARENT", self.id.to_string())?;
        job.env.extend(&job.entry.env);
        Ok(())
    }

    fn below(&self, job: &Job) -> Box<dyn Caller> {
        let mut line = self.line.clone();
        line.push(job.entry.clone());
        Box::new(Calls {
            engine: self.engine.clone(),
            catalog: self.catalog.clone(),
            line,
            id: job.id,
            root: self.root,
            origin: self.origin,
            trail: self.trail.clone(),
            left: self.left.clone(),
            home: self.home.clone(),
        })
    }
}

impl Engine {
    /// Runs a job that nobody tells how it ended but its record, the log and, during a trial, the `ballot`.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub async fn attend(
        self: &Arc<Self>,
        job: Job,
        occasion: Occasion,
        mut ballot: Option<Ballot>,
    ) -> Result<Status, Fault> {
        // Nobody waits for what the clock begins.
        let awaited = ballot.iter_mut().filter(|_| occasion == Occasion::Call);
        awaited.for_each(|ballot| ballot.begins(&job.usage));
        let (label, entry, last_words) = (job.label(), job.entry.clone(), job.last_words.clone());
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
        if let Some(told) = complaint(&entry, &outcome, &last_words) {
            warn!("[{label}] {}@{} {told}", entry.name, entry.version);
        }
        outcome
    }
}

/// Says what is to be logged of an end; none: nothing.
fn complaint(entry: &Entry, outcome: &Result<Status, Fault>, last_words: &Tail) -> Option<String> {
    let (whole, short, stack) = match outcome {
        Ok(Status::OK) => return None,
        Ok(status) => {
            let short = format!("ended with exit status {}", status.0);
            match last_words.last_line() {
                line if line.is_empty() => (short.clone(), short, ""),
                line => (format!("{short}: {}", brief(line, WORDS)), short, ""),
            }
        }
        Err(fault) => (fault.to_string(), fault.without_words(), fault.stack()),
    };
    Some(entry.last_words(whole, short, stack))
}
