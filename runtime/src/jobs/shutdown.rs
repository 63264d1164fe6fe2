//! `shutdown`: makes the daemon drain and end, as SIGTERM does.

use std::sync::Arc;

use crate::engine::{Engine, NativeJob};
use crate::job::{Job, Run, Status, Stop, StopReason};

/// Raises the daemon's stop signal. The job ends at once, the daemon later.
pub struct Shutdown {
    /// The signal that the daemon waits for.
    pub stop: Stop,
}

impl NativeJob for Shutdown {
    fn run(self: Arc<Self>, _engine: Arc<Engine>, _job: Job) -> Run {
        Box::pin(async move {
            self.stop.raise(StopReason::Shutdown);
            Ok(Status::OK)
        })
    }
}
