//! What is kept of a job while it runs, in case it fails.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::Stream;

use super::{Entry, Env, Fault, Input, Job, JobId, Owner, Status};

/// Takes what is kept of jobs that have failed.
///
/// A trait, because where that goes is for a layer above to know.
pub trait Recorder: Send + Sync + 'static {
    /// Takes an incident. Never waits.
    fn keep(&self, incident: Incident);

    /// Says whether what a job reads is kept with it.
    fn keeps_stdin(&self) -> bool;
}

/// A job that has failed: what it was given, and how it ended.
pub struct Incident {
    /// Its number.
    pub id: JobId,
    /// What ran it.
    pub entry: Arc<Entry>,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, secrets among it.
    pub env: Env,
    /// What it has read; none: that is not kept.
    pub stdin: Option<Read>,
    /// How it ended.
    pub end: End,
    /// The end of its stderr.
    pub stderr: String,
    /// How long it ran.
    pub time: Duration,
    /// How much of that it was on a processor.
    pub cpu: Duration,
}

/// What a job has read of its stdin.
#[derive(Clone, Default)]
pub struct Read {
    /// The beginning.
    pub bytes: Vec<u8>,
    /// Whether it has read more than that.
    pub truncated: bool,
}

/// How a job ended that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct End {
    /// See [`Fault::code`].
    pub code: &'static str,
    /// Its exit status.
    pub status: Status,
    /// One line for a person.
    pub message: String,
    /// The guest's stack; may be empty.
    pub stack: String,
}

/// Holds on to what a job was given until it has ended. Clones are the same.
#[derive(Clone)]
pub struct Capture(Arc<Mutex<State>>);

struct State {
    recorder: Arc<dyn Recorder>,
    given: Option<Given>,
    read: Read,
}

/// What a job was given; gone once it is recorded.
struct Given {
    id: JobId,
    entry: Arc<Entry>,
    args: Vec<String>,
    env: Env,
    last_words: super::Tail,
    usage: Arc<super::Usage>,
    start: Instant,
}

/// Bytes of stdin that are kept.
const STDIN: usize = 1 << 20;

impl Capture {
    /// Makes one that holds nothing yet.
    pub fn new(recorder: Arc<dyn Recorder>) -> Capture {
        Capture(Arc::new(Mutex::new(State { recorder, given: None, read: Read::default() })))
    }

    /// Copies what a job is given, and from now on what it reads.
    pub fn begin(&self, job: &mut Job) {
        let given = Given {
            id: job.id,
            entry: job.entry.clone(),
            args: job.args.clone(),
            env: job.env.clone(),
            last_words: job.last_words.clone(),
            usage: job.usage.clone(),
            start: Instant::now(),
        };
        let mut state = self.lock();
        state.given = Some(given);
        if !state.recorder.keeps_stdin() {
            return;
        }
        drop(state);
        let input = std::mem::take(&mut job.stdin);
        job.stdin = Input::stream(Tee { input, capture: self.clone() });
    }

    /// Records the job if this is a failure of its own, or ours; the first failure counts.
    pub fn fail(&self, fault: &Fault) {
        let own = matches!(fault.owner(), Owner::Handler | Owner::Ours);
        let mut state = self.lock();
        let Some(given) = state.given.take_if(|_| own) else { return };
        let (recorder, stdin) = (state.recorder.clone(), std::mem::take(&mut state.read));
        drop(state);
        let stdin = recorder.keeps_stdin().then_some(stdin);
        let Given { id, entry, args, env, last_words, usage, start } = given;
        let (time, cpu, stderr) = (start.elapsed(), usage.cpu(), last_words.text());
        recorder.keep(Incident { id, entry, args, env, stdin, end: End::of(fault), stderr, time, cpu });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl End {
    /// Says how a job ended that ended with this.
    pub fn of(fault: &Fault) -> End {
        let (message, stack) = (fault.to_string(), fault.stack().to_owned());
        End { code: fault.code(), status: fault.status(), message, stack }
    }
}

/// An input whose beginning is kept as it is read.
struct Tee {
    input: Input,
    capture: Capture,
}

impl Stream for Tee {
    type Item = Result<bytes::Bytes, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match ready!(self.input.poll_filled(context)) {
            Ok(true) => {
                let chunk = self.input.take(usize::MAX);
                let mut state = self.capture.lock();
                let room = STDIN.saturating_sub(state.read.bytes.len()).min(chunk.len());
                state.read.bytes.extend_from_slice(&chunk[..room]);
                state.read.truncated |= room < chunk.len();
                drop(state);
                Poll::Ready(Some(Ok(chunk)))
            }
            Ok(false) => Poll::Ready(None),
            Err(fault) => Poll::Ready(Some(Err(fault))),
        }
    }
}
