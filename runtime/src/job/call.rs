//! Calls from a job to another handler: the request to the engine and the callee's pipes.

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
    Destination as _, Env, Fault, Input, InputLimit, JobId, Name, PipeReader, PipeWriter, Status, pipe,
};

/// Starts jobs on behalf of one job.
///
/// This is a trait because the engine runs jobs, and so lies above the code inside them.
pub trait JobCaller: Send + Sync + 'static {
    /// Starts a job in a task of its own. Waiting for a slot is part of its run.
    ///
    /// # Errors
    /// The job cannot be called, for the reason given. Never waits.
    fn call(&self, wanted: CallRequest) -> Result<Callee, CallError>;
}

/// A call that a job asks for.
#[derive(Debug, Default)]
pub struct CallRequest {
    /// The name of the handler.
    pub name: String,
    /// Arguments that come after the handler's own.
    pub args: Vec<String>,
    /// Variables that are set before the handler's own, which override them.
    pub env: Env,
}

/// A job that runs for another job. Dropping it ends the callee.
pub struct Callee {
    /// Its number.
    pub id: JobId,
    /// Its stdin. `None` once the input has ended.
    pub stdin: Option<Feed>,
    /// Its stdout.
    pub stdout: PipeReader,
    run: JoinHandle<Result<Status, Fault>>,
}

/// The caller's end of a callee's stdin. Dropping it breaks the input off, so a callee whose caller
/// was cut short never takes a part for the whole.
pub struct Feed {
    writer: PipeWriter,
    whole: Arc<AtomicBool>,
}

/// Why a call was refused. Each text says what to change, and where.
#[derive(Debug)]
pub enum CallError {
    /// The caller is not granted this handler.
    NotGranted {
        /// The caller.
        caller: Name,
        /// The name that it called.
        wanted: String,
    },
    /// The handler existed when the grant was written, but does not any more.
    NotFound(String),
    /// The calls are nested as deep as allowed.
    TooDeep {
        /// What was called.
        wanted: Name,
        /// The maximum depth.
        max: usize,
    },
    /// One request has started as many jobs as allowed.
    TooMany {
        /// The maximum.
        max: usize,
    },
    /// An argument or variable of the call cannot be passed to a job.
    Malformed(String),
    /// Every slot for the callee is held by its own callers.
    Deadlock {
        /// What was called.
        wanted: Name,
        /// The key that sets the number of slots.
        key: String,
    },
}

impl Callee {
    /// Combines a running job with the ends of its pipes.
    pub fn new(id: JobId, stdin: Feed, stdout: PipeReader, run: JoinHandle<Result<Status, Fault>>) -> Callee {
        Callee { id, stdin: Some(stdin), stdout, run }
    }

    /// Waits until the job has ended. Must not be polled again after that.
    ///
    /// # Errors
    /// The fault of the job.
    pub fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<Result<Status, Fault>> {
        let ended = ready!(Pin::new(&mut self.run).poll(context));
        Poll::Ready(ended.unwrap_or_else(|failure| Err(Fault::Host(failure.into()))))
    }
}

impl Drop for Callee {
    fn drop(&mut self) {
        // Aborted before the pipes are dropped, so the job is not polled once more with an input
        // that broke off.
        self.run.abort();
    }
}

/// Makes the stdin of a callee with a limit of `max` bytes: the caller's end and the callee's
/// input.
pub fn feed(capacity: usize, max: u64) -> (Feed, Input) {
    let (writer, reader) = pipe(capacity);
    let whole = Arc::new(AtomicBool::new(false));
    let fed = CalleeStdin { reader, whole: whole.clone(), measure: InputLimit::new(max) };
    (Feed { writer, whole }, Input::stream(fed))
}

impl Feed {
    /// Waits until there is room, and returns the number of bytes.
    ///
    /// # Errors
    /// The callee has closed its stdin.
    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.writer.poll_room(context)
    }

    /// Writes the bytes. Never waits.
    ///
    /// # Errors
    /// The callee has closed its stdin.
    pub fn write(&self, bytes: &Bytes) -> io::Result<()> {
        self.writer.write(bytes)
    }

    /// Marks the input as complete.
    pub fn finish(self) {
        self.whole.store(true, Ordering::Release);
    }
}

/// The callee's end of its stdin.
struct CalleeStdin {
    reader: PipeReader,
    whole: Arc<AtomicBool>,
    measure: InputLimit,
}

impl Stream for CalleeStdin {
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
            CallError::TooDeep { wanted, max } => write!(
                f,
                "{wanted} is not called: calls are nested {max} deep, which is the limit; if that is a loop, \
                 take {wanted:?} out of the `calls` of one of its handlers"
            ),
            CallError::TooMany { max } => write!(
                f,
                "one request may start {max} jobs, and this one has reached that: let one job do the work of several"
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
        for (max, fits) in [(5, true), (4, false)] {
            let (feed, mut input) = super::feed(16, max);
            feed.write(&Bytes::from_static(b"whole")).unwrap();
            feed.finish();
            assert_eq!(input.read_to_end(16).await.is_ok(), fits, "{max} bytes");
        }
    }
}
