//! The job that has a connection to itself: the ends of its streams, and how it ends.

use std::future::ready;
use std::io;

use crate::job::{Fault, PipeReader, PipeWriter, Run, Status, Stop, Tail};

/// The ends of a running job's streams.
pub(super) struct JobStreams {
    pub(super) run: Run,
    pub(super) stdin: PipeWriter,
    pub(super) stdout: PipeReader,
    pub(super) last_words: Tail,
    pub(super) stop: Stop,
}

/// Why a connection is over.
pub(super) enum TunnelEnd {
    /// The job has ended, and all it wrote is sent.
    Job(Result<Status, Fault>),
    /// The client has left, or does not read.
    Client(io::Error),
    /// The client floods us with control frames.
    Flood,
}

/// Makes a run that has ended.
pub(super) fn done(outcome: Result<Status, Fault>) -> Run {
    Box::pin(ready(outcome))
}
