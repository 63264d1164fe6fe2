//! What a job may ask of the engine: to run another handler's job beside it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use tokio::task::JoinHandle;

use super::{
    Destination as _, Env, Fault, Input, JobId, Measure, Name, PipeReader, PipeWriter, Status, pipe,
};

/// Starts jobs on behalf of one job.
///
/// A trait, because the engine, which runs jobs, is above what runs in them.
pub trait Caller: Send + Sync + 'static {
    /// Starts a job. It runs in a task of its own; waiting for a slot is part of its run.
    ///
    /// # Errors
    /// Why there is no such job for this one. Never waits.
    fn call(&self, wanted: Wanted) -> Result<Callee, CallError>;
}

/// A job that another one wants to have run.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The name of the handler.
    pub name: String,
    /// Arguments that come after the handler's own.
    pub args: Vec<String>,
    /// Variables that come before the handler's own, which win.
    pub env: Env,
}

/// A job that runs for another one. Dropping it ends the job.
pub struct Callee {
    /// Its number.
    pub id: JobId,
    /// What it reads; none: its input has ended.
    pub stdin: Option<Feed>,
    /// What it writes.
    pub stdout: PipeReader,
    run: JoinHandle<Result<Status, Fault>>,
}

/// The end of a callee's stdin that its caller writes to. Dropping it breaks the input off, so that
/// the callee of a caller that is cut short never takes half for the whole.
pub struct Feed {
    writer: PipeWriter,
    whole: Arc<AtomicBool>,
}

/// Why a job was not started for another one. Each text says what to change, and where.
#[derive(Debug)]
pub enum CallError {
    /// The caller is not granted this handler.
    NotGranted {
        /// Who wants to call.
        caller: Name,
        /// What it wants.
        wanted: String,
    },
    /// The handler was there when the grant was written, and is no more.
    NotFound(String),
    /// The calls are nested as deep as they may be.
    TooDeep {
        /// What was called.
        wanted: Name,
        /// How deep they may be.
        most: usize,
    },
    /// One request has started as many jobs as it may.
    TooMany {
        /// How many that is.
        most: usize,
    },
    /// What the caller wants the job to be given cannot be given.
    Malformed(String),
    /// Every slot the job could run in is held by those who wait for it.
    Deadlock {
        /// What was called.
        wanted: Name,
        /// The key that sets how many slots there are.
        key: String,
    },
}

impl Callee {
    /// Puts together a job that was started and the ends of its pipes.
    pub fn new(id: JobId, stdin: Feed, stdout: PipeReader, run: JoinHandle<Result<Status, Fault>>) -> Callee {
        Callee { id, stdin: Some(stdin), stdout, run }
    }

    /// Waits until the job has ended. Not to be asked again after that.
    ///
    /// # Errors
    /// The fault that the job has ended with.
    pub fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<Result<Status, Fault>> {
        let ended = ready!(Pin::new(&mut self.run).poll(context));
        Poll::Ready(ended.unwrap_or_else(|failure| Err(Fault::Host(failure.into()))))
    }
}

impl Drop for Callee {
    fn drop(&mut self) {
        // Before the pipes go, so that the job is not run once more on an input that has broken off.
        self.run.abort();
    }
}

/// Makes the stdin of a callee: what its caller writes to, and what it reads, `most` bytes in all.
pub fn feed(capacity: usize, most: u64) -> (Feed, Input) {
    let (writer, reader) = pipe(capacity);
    let whole = Arc::new(AtomicBool::new(false));
    let fed = Fed { reader, whole: whole.clone(), measure: Measure::new(most) };
    (Feed { writer, whole }, Input::stream(fed))
}

impl Feed {
    /// Waits until there is room and says for how many bytes.
    ///
    /// # Errors
    /// The callee reads no more.
    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.writer.poll_room(context)
    }

    /// Writes the bytes. Never waits.
    ///
    /// # Errors
    /// The callee reads no more.
    pub fn write(&self, bytes: &Bytes) -> io::Result<()> {
        self.writer.write(bytes)
    }

    /// Says that this was all.
    pub fn finish(self) {
        self.whole.store(true, Ordering::Release);
    }
}

/// What a callee reads of its caller.
struct Fed {
    reader: PipeReader,
    whole: Arc<AtomicBool>,
    measure: Measure,
}

impl Stream for Fed {
    type Item = Result<Bytes, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(chunk) = ready!(Pin::new(&mut this.reader).poll_next(context)) else {
            let whole = this.whole.load(Ordering::Acquire);
            let broken = || Err(Fault::InputBroken("the job that wrote it was cut short".to_owned()));
            return Poll::Ready((!whole).then(broken));
        };
        Poll::Ready(Some(this.measure.take(chunk.len()).map(|()| chunk)))
    }
}

impl CallError {
    /// Returns one stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            CallError::NotGranted { .. } => "not_granted",
            CallError::NotFound(_) => "job_not_found",
            CallError::TooDeep { .. } => "too_deep",
            CallError::TooMany { .. } => "too_many",
            CallError::Malformed(_) => "malformed",
            CallError::Deadlock { .. } => "deadlock",
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::NotGranted { caller, wanted } => {
                let wanted: String = wanted.chars().take(Name::MAX).collect();
                write!(f, "{caller} may not call {wanted:?}: handler.{caller}.calls: add {wanted:?}")
            }
            CallError::NotFound(name) => {
                write!(f, "there is no handler {name:?}: add [handler.{name}], or take it out of `calls`")
            }
            CallError::TooDeep { wanted, most } => write!(
                f,
                "{wanted} is not called: calls are nested {most} deep, which is the most; if that is a loop, \
                 take {wanted:?} out of the `calls` of one of its handlers"
            ),
            CallError::TooMany { most } => write!(
                f,
                "one request may start {most} jobs, and this one has: let one job do the work of several"
            ),
            CallError::Malformed(what) => f.write_str(what),
            CallError::Deadlock { wanted, key } => write!(
                f,
                "{wanted} could never run: every slot is held by a job that waits for it: raise {key}"
            ),
        }
    }
}

impl std::error::Error for CallError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_input_that_was_not_finished_is_broken_and_one_that_was_is_whole() {
        let (feed, mut input) = super::feed(16, 16);
        feed.write(&Bytes::from_static(b"half")).unwrap();
        drop(feed);
        assert!(matches!(input.read_to_end(16).await, Err(Fault::InputBroken(_))));

        let (feed, mut input) = super::feed(16, 16);
        feed.write(&Bytes::from_static(b"whole")).unwrap();
        feed.finish();
        assert_eq!(input.read_to_end(16).await.unwrap(), b"whole");
    }

    #[tokio::test]
    async fn an_input_ends_at_the_limit_of_its_reader() {
        for (most, fits) in [(5, true), (4, false)] {
            let (feed, mut input) = super::feed(16, most);
            feed.write(&Bytes::from_static(b"whole")).unwrap();
            feed.finish();
            assert_eq!(input.read_to_end(16).await.is_ok(), fits, "{most} bytes");
        }
    }
}
