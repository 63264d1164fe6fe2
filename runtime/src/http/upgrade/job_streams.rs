//! The streams of a job that has a connection to itself, and how the connection ends.

use std::io;

use crate::http::request::running_job::RunningJob;
use crate::job::{Fault, PipeReader, PipeWriter, Status};

/// A running job and our ends of its streams.
pub(super) struct JobStreams {
    pub(super) job: RunningJob<PipeReader>,
    pub(super) stdin: PipeWriter,
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
