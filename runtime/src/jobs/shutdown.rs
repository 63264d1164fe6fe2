//! `shutdown`: asks the daemon to drain and end, as SIGTERM does.

use std::sync::Arc;

use crate::job::{Handler, Job, Run, Status, Stay, Stop, StopReason, Tenure};

/// Raises the daemon's own stop signal. The job ends at once; the daemon a while later.
pub struct Shutdown {
    /// What the daemon waits for.
    pub stop: Stop,
}

impl Handler for Shutdown {
    fn run(self: Arc<Self>, _job: Job) -> Run {
        Box::pin(async move {
            self.stop.raise(StopReason::Shutdown);
            Ok(Status::OK)
        })
    }

    fn tenure(&self) -> Tenure {
        Tenure::Attendance
    }

    fn stay(&self) -> Stay {
        Stay::Moment
    }
}
