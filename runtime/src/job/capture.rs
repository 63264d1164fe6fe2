//! Captures a job's input while it runs, to record it in case it fails.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::Stream;
use tracing::warn;

use super::{Env, Fault, HandlerVersion, Input, Job, JobId, Owner, Status};
use crate::budget::Portion;

/// Records failed jobs.
///
/// This is a trait because the layer above decides where records go.
pub trait Recorder: Send + Sync + 'static {
    /// Takes a failed job. Never waits.
    fn keep(&self, incident: FailedJob);

    /// Returns `true` if the stdin of jobs is recorded.
    fn keeps_stdin(&self) -> bool;

    /// Returns an empty portion of the budget for captured stdin of all running jobs, in units of
    /// [`CapturedStdin::UNIT`] bytes.
    fn room(&self) -> Portion;
}

/// A failed job: its input and how it ended.
pub struct FailedJob {
    /// Its number.
    pub id: JobId,
    /// Its entry.
    pub entry: Arc<HandlerVersion>,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, including secrets.
    pub env: Env,
    /// What it has read of its stdin, or `None` if that is not recorded.
    pub stdin: Option<CapturedStdin>,
    /// How it ended.
    pub end: JobFailure,
    /// The end of its stderr.
    pub stderr: String,
    /// How long it ran.
    pub time: Duration,
    /// Its CPU time.
    pub cpu: Duration,
}

/// The part of its stdin that a job has read.
#[derive(Clone, Default)]
pub struct CapturedStdin {
    /// The first bytes.
    pub bytes: Vec<u8>,
    /// Whether it has read more than these.
    pub truncated: bool,
}

impl CapturedStdin {
    /// A unit of the shared budget, in bytes.
    pub const UNIT: usize = 64 << 10;
}

/// How a failed job ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobFailure {
    /// See [`Fault::code`].
    pub code: &'static str,
    /// Its exit status.
    pub status: Status,
    /// A description in one line.
    pub message: String,
    /// The guest's stack; may be empty.
    pub stack: String,
}

/// Holds a job's input until it has ended. Clones share it.
#[derive(Clone)]
pub struct Capture(Arc<Mutex<State>>);

struct State {
    recorder: Arc<dyn Recorder>,
    given: Option<CapturedInput>,
    read: CapturedStdin,
    /// Its portion of the shared budget; `None` until it has read something.
    room: Option<Portion>,
    /// Whether the capture was truncated because the shared budget was exhausted.
    is_crowded: bool,
}

/// The input of a job; taken once it is recorded.
struct CapturedInput {
    id: JobId,
    entry: Arc<HandlerVersion>,
    args: Vec<String>,
    env: Env,
    stderr_tail: super::Tail,
    usage: Arc<super::Usage>,
    start: Instant,
}

/// The limit of captured stdin for each job, in bytes.
const STDIN: usize = 1 << 20;

impl Capture {
    /// Makes an empty capture.
    pub fn new(recorder: Arc<dyn Recorder>) -> Capture {
        Capture(Arc::new(Mutex::new(State {
            recorder,
            given: None,
            read: CapturedStdin::default(),
            room: None,
            is_crowded: false,
        })))
    }

    /// Copies the job's input and, from now on, what it reads from stdin.
    pub fn begin(&self, job: &mut Job) {
        let given = CapturedInput {
            id: job.id,
            entry: job.entry.clone(),
            args: job.args.clone(),
            env: job.env.clone(),
            stderr_tail: job.stderr_tail.clone(),
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

    /// Records the job if the fault is the handler's or the daemon's. Only the first such fault is recorded.
    pub fn fail(&self, fault: &Fault) {
        let own = matches!(fault.owner(), Owner::Handler | Owner::Ours);
        let mut state = self.lock();
        let Some(given) = state.given.take_if(|_| own) else { return };
        let (recorder, stdin) = (state.recorder.clone(), std::mem::take(&mut state.read));
        // Records that wait to be written have a limit of their own.
        let (_room, is_crowded) = (state.room.take(), state.is_crowded);
        drop(state);
        let stdin = recorder.keeps_stdin().then_some(stdin);
        let CapturedInput { id, entry, args, env, stderr_tail, usage, start } = given;
        if is_crowded {
            let (name, bytes) = (&entry.name, stdin.as_ref().map_or(0, |stdin| stdin.bytes.len()));
            warn!(
                "[{id}] {name}: only {bytes} bytes of its input are recorded: the input of all running jobs has reached the most that is kept"
            );
        }
        let (time, cpu, stderr) = (start.elapsed(), usage.cpu(), stderr_tail.text());
        recorder.keep(FailedJob {
            id,
            entry,
            args,
            env,
            stdin,
            end: JobFailure::of(fault),
            stderr,
            time,
            cpu,
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JobFailure {
    /// Describes this fault for the record file.
    pub fn of(fault: &Fault) -> JobFailure {
        let (message, stack) = (fault.to_string(), fault.stack().to_owned());
        JobFailure { code: fault.code(), status: fault.status(), message, stack }
    }
}

impl State {
    /// Captures a chunk, as far as there is room.
    fn keep(&mut self, chunk: &[u8]) {
        let State { recorder, read, room, .. } = self;
        let room = room.get_or_insert_with(|| recorder.room());
        let before = read.bytes.len();
        let wanted = (before + chunk.len()).min(STDIN);
        let more = wanted.div_ceil(CapturedStdin::UNIT).saturating_sub(room.units());
        if !read.truncated && !room.grow(more) {
            self.is_crowded = true;
        }
        // After a gap, later bytes are not captured: only a contiguous beginning is useful.
        let end = if read.truncated { before } else { wanted.min(room.units() * CapturedStdin::UNIT) };
        if end > read.bytes.capacity() {
            read.bytes.reserve_exact(room.units() * CapturedStdin::UNIT - before);
        }
        read.bytes.extend_from_slice(&chunk[..end - before]);
        read.truncated |= end - before < chunk.len();
    }
}

/// An input that is captured as it is read.
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
                self.capture.lock().keep(&chunk);
                Poll::Ready(Some(Ok(chunk)))
            }
            Ok(false) => Poll::Ready(None),
            Err(fault) => Poll::Ready(Some(Err(fault))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Budget, Holder};

    struct Keeps(Arc<Budget>, Arc<Holder>);

    impl Recorder for Keeps {
        fn keep(&self, _incident: FailedJob) {}

        fn keeps_stdin(&self) -> bool {
            true
        }

        fn room(&self) -> Portion {
            self.0.nothing(&self.1)
        }
    }

    #[test]
    fn what_is_kept_of_all_running_jobs_is_bounded_and_given_back() {
        // One handler may have fourteen of them at most.
        let budget = Budget::new(16);
        let keeps = Arc::new(Keeps(budget.clone(), Arc::default()));
        let jobs: Vec<Capture> = (0..4).map(|_| Capture::new(keeps.clone())).collect();

        for job in &jobs {
            (0..5).for_each(|_| job.lock().keep(&[b'x'; CapturedStdin::UNIT]));
            job.lock().keep(b"more");
        }

        let kept = |job: &Capture| {
            let state = job.lock();
            (state.read.bytes.len() / CapturedStdin::UNIT, state.read.truncated, state.is_crowded)
        };
        // Six units for each; the last job has none left.
        assert_eq!(kept(&jobs[0]), (5, false, false));
        assert_eq!(kept(&jobs[2]), (2, true, true));
        assert_eq!(kept(&jobs[3]), (0, true, true));
        let held: usize = jobs.iter().map(|job| job.lock().read.bytes.capacity()).sum();
        assert_eq!((held / CapturedStdin::UNIT, budget.used()), (14, 14));
        drop(jobs);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn the_first_mebibyte_of_what_a_job_reads_is_kept() {
        let keeps = Keeps(Budget::boundless(), Arc::default());
        let job = Capture::new(Arc::new(keeps));

        (0..20).for_each(|_| job.lock().keep(&[b'x'; 60_000]));

        let state = job.lock();
        assert_eq!((state.read.bytes.len(), state.read.truncated, state.is_crowded), (STDIN, true, false));
    }
}
