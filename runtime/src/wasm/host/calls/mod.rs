//! The jobs that a guest calls, with the numbers by which it knows them.
//!
//! Floors, lowest first: `failure`; this file; `component`, `core`.

mod component;
mod core;
mod failure;

pub(in crate::wasm) use self::component::{PACKAGE, link as link_component};
pub(in crate::wasm) use self::core::{MODULE, link as link_core};
pub(in crate::wasm) use self::failure::LastError;

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::Bytes;

use self::failure::Failure;
use crate::job::{CallRequest, Callee, Fault, Job, JobCaller, Name, Status};

/// Jobs that a guest may hold at once, including ended ones.
const MAX: usize = 64;

/// Bytes of arguments and variables that one job may be given.
const LONGEST: usize = 128 << 10;

/// The jobs that a guest calls.
pub(in crate::wasm) struct Calling {
    name: Name,
    /// `None` if the handler is granted no calls.
    caller: Option<Box<dyn JobCaller>>,
    jobs: Vec<Option<CalledJob>>,
}

/// A called job, as its caller holds it.
enum CalledJob {
    /// Not started yet; with the bytes of its arguments and variables so far.
    Wanted(CallRequest, usize),
    Started(Box<Started>),
}

struct Started {
    name: String,
    callee: Callee,
    /// Bytes that were read from stdout and not returned yet.
    rest: Bytes,
    outcome: Option<Result<Status, Fault>>,
}

/// The end of a job.
struct CalledEnd {
    status: Status,
    /// The fault that ended it, or `None` if it exited itself.
    fault: Option<Failure>,
}

/// Which sides of a job's pipes are ready without waiting.
struct Ready {
    read: bool,
    write: bool,
}

impl Calling {
    pub(in crate::wasm) fn of(job: &mut Job) -> Calling {
        Calling { name: job.name().clone(), caller: job.caller.take(), jobs: Vec::new() }
    }

    /// Makes the state for an instance that runs no job. It may call nothing.
    pub(in crate::wasm) fn nothing() -> Calling {
        let name = "_".parse().expect("an underscore is a name");
        Calling { name, caller: None, jobs: Vec::new() }
    }

    /// Reports whether the guest still holds a job.
    pub(in crate::wasm) fn knows_jobs(&self) -> bool {
        self.jobs.iter().any(Option::is_some)
    }

    /// Makes a job. Whether a job of that name exists is checked when it is started.
    fn open(&mut self, name: String) -> Result<u32, Failure> {
        let place = match self.jobs.iter().position(Option::is_none) {
            Some(free) => free,
            None if self.jobs.len() < MAX => {
                self.jobs.push(None);
                self.jobs.len() - 1
            }
            None => return Err(Failure::too_many_known(MAX)),
        };
        self.jobs[place] = Some(CalledJob::Wanted(CallRequest { name, ..CallRequest::default() }, 0));
        u32::try_from(place).map_err(|_| Failure::too_many_known(MAX))
    }

    fn arg(&mut self, job: u32, value: String) -> Result<(), Failure> {
        if value.contains('\0') {
            return Err(Failure::malformed("an argument cannot hold a NUL character".to_owned()));
        }
        self.wanted(job, value.len())?.args.push(value);
        Ok(())
    }

    fn env(&mut self, job: u32, name: String, value: String) -> Result<(), Failure> {
        let wanted = self.wanted(job, name.len() + value.len())?;
        wanted.env.set(name, value).map_err(|error| Failure::malformed(error.to_string()))
    }

    /// Finds a job that is not started yet, and counts `more` bytes for it.
    fn wanted(&mut self, job: u32, more: usize) -> Result<&mut CallRequest, Failure> {
        match self.job(job)? {
            CalledJob::Wanted(wanted, bytes) => {
                // Includes the list entry, so that empty strings are not free.
                *bytes = bytes.saturating_add(more).saturating_add(size_of::<String>());
                if *bytes > LONGEST { Err(Failure::too_long(LONGEST)) } else { Ok(wanted) }
            }
            CalledJob::Started(_) => Err(Failure::state("the job has been started")),
        }
    }

    /// Starts a job. Never waits.
    fn start(&mut self, job: u32) -> Result<(), Failure> {
        let place = place(&mut self.jobs, job)?;
        let Some(CalledJob::Wanted(wanted, _)) = place else {
            return Err(Failure::state("the job has been started"));
        };
        let wanted = std::mem::take(wanted);
        let name = wanted.name.clone();
        // A job that is refused is forgotten.
        *place = None;
        let Some(caller) = &self.caller else { return Err(Failure::not_granted(&self.name, name)) };
        let callee = caller.call(wanted)?;
        let started = Started { name, callee, rest: Bytes::new(), outcome: None };
        *place = Some(CalledJob::Started(Box::new(started)));
        Ok(())
    }

    /// Waits until the job's stdin has room, and returns the number of bytes.
    async fn room(&mut self, job: u32) -> Result<usize, Failure> {
        let started = self.started(job)?;
        let stdin = started.callee.stdin.as_ref();
        let stdin = stdin.ok_or_else(|| Failure::state("the job's stdin has been closed"))?;
        poll_fn(|context| stdin.poll_room(context)).await.map_err(|_| Failure::not_read(&started.name))
    }

    /// Writes to the job's stdin. The caller has waited for room.
    fn put(&mut self, job: u32, bytes: &Bytes) -> Result<(), Failure> {
        let started = self.started(job)?;
        let stdin = started.callee.stdin.as_ref();
        let stdin = stdin.ok_or_else(|| Failure::state("the job's stdin has been closed"))?;
        stdin.write(bytes).map_err(|_| Failure::not_read(&started.name))
    }

    /// Closes the job's stdin. Closing it again does nothing.
    fn close(&mut self, job: u32) -> Result<(), Failure> {
        if let Some(stdin) = self.started(job)?.callee.stdin.take() {
            stdin.finish();
        }
        Ok(())
    }

    /// Waits until the job's stdout has data. Returns `false` if it has ended instead.
    async fn filled(&mut self, job: u32) -> Result<bool, Failure> {
        let started = self.started(job)?;
        Ok(poll_fn(|context| started.poll_filled(context)).await)
    }

    /// Takes up to `max` bytes that the job's stdout has already.
    fn take(&mut self, job: u32, max: usize) -> Result<Bytes, Failure> {
        let started = self.started(job)?;
        if started.rest.is_empty() {
            started.rest = started.callee.stdout.take().unwrap_or_default();
        }
        let max = max.min(started.rest.len());
        Ok(started.rest.split_to(max))
    }

    /// Waits until reading or writing would not wait.
    async fn ready(&mut self, job: u32) -> Result<Ready, Failure> {
        let started = self.started(job)?;
        Ok(poll_fn(|context| {
            let read = started.poll_filled(context).is_ready();
            let stdin = started.callee.stdin.as_ref();
            let write = stdin.is_some_and(|stdin| stdin.poll_room(context).is_ready());
            if read || write { Poll::Ready(Ready { read, write }) } else { Poll::Pending }
        })
        .await)
    }

    /// Closes the job's stdin and waits until the job ends. Output that is not read by then is dropped.
    async fn ended(&mut self, job: u32) -> Result<CalledEnd, Failure> {
        self.close(job)?;
        let started = self.started(job)?;
        poll_fn(|context| started.poll_ended(context)).await;
        match &started.outcome {
            Some(Ok(status)) => Ok(CalledEnd { status: *status, fault: None }),
            Some(Err(fault)) if fault.is_without_slot() || matches!(fault, Fault::Draining) => {
                Err(Failure::of(&started.name, fault))
            }
            Some(Err(fault)) => {
                Ok(CalledEnd { status: fault.status(), fault: Some(Failure::of(&started.name, fault)) })
            }
            None => Err(Failure::state("the job has not ended")),
        }
    }

    /// Forgets a job. Ends it if it runs.
    fn forget(&mut self, job: u32) {
        if let Ok(place) = place(&mut self.jobs, job) {
            *place = None;
        }
    }

    fn job(&mut self, job: u32) -> Result<&mut CalledJob, Failure> {
        place(&mut self.jobs, job)?.as_mut().ok_or_else(Failure::unknown)
    }

    fn started(&mut self, job: u32) -> Result<&mut Started, Failure> {
        match self.job(job)? {
            CalledJob::Started(started) => Ok(started),
            CalledJob::Wanted(..) => Err(Failure::state("the job has not been started")),
        }
    }
}

impl Started {
    fn poll_filled(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if self.rest.is_empty() { self.callee.stdout.poll_filled(context) } else { Poll::Ready(true) }
    }

    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.outcome.is_some() {
            return Poll::Ready(());
        }
        // Drops its output: a job that waits for its reader would never end.
        while let Poll::Ready(true) = self.callee.stdout.poll_filled(context) {
            self.callee.stdout.take();
        }
        self.callee.poll_ended(context).map(|outcome| self.outcome = Some(outcome))
    }
}

fn place(jobs: &mut [Option<CalledJob>], job: u32) -> Result<&mut Option<CalledJob>, Failure> {
    let known = usize::try_from(job).ok().and_then(|job| jobs.get_mut(job));
    known.filter(|place| place.is_some()).ok_or_else(Failure::unknown)
}
