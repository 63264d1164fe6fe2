//! `shutdown`: asks the daemon to drain and end, as SIGTERM does.

use std::sync::Arc;

use crate::engine::{Engine, NativeJob};
use crate::job::{Job, Run, Status, Stop, StopReason};

/// Raises the daemon's own stop signal. The job ends at once; the daemon a while later.
pub struct Shutdown {
    /// What the daemon waits for.
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
