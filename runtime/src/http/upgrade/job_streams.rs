//! The streams of a job that has a connection to itself, and how the connection ends.

use std::future::ready;
use std::io;

use crate::job::{Fault, PipeReader, PipeWriter, Run, Status, Stop, Tail};

/// A running job and our ends of its streams.
pub(super) struct JobStreams {
    pub(super) run: Run,
    pub(super) stdin: PipeWriter,
    pub(super) stdout: PipeReader,
    pub(super) stderr_tail: Tail,
    pub(super) stop: Stop,
}

/// Why an upgraded connection has ended.
pub(super) enum TunnelEnd {
    /// The job has ended, and all it wrote is sent.
    Job(Result<Status, Fault>),
    /// The client has left, or does not read.
    Client(io::Error),
    /// The client floods us with control frames.
    Flood,
}

/// Makes a run that has already ended.
pub(super) fn done(outcome: Result<Status, Fault>) -> Run {
    Box::pin(ready(outcome))
}
