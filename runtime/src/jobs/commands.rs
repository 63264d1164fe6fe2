//! `commands`: the names of the built-in jobs, sorted, one a line.

use std::sync::{Arc, Weak};

use crate::engine::Engine;
use crate::job::{Fault, Handler, Job, Run, Status, Stay, Tenure};

/// Lists what is registered with this engine.
pub struct Commands {
    /// The engine, which holds this job.
    pub engine: Weak<Engine>,
}

impl Handler for Commands {
    fn run(self: Arc<Self>, job: Job) -> Run {
        Box::pin(async move {
            let engine = self.engine.upgrade().ok_or(Fault::Draining)?;
            let names: String = engine.registry().names().iter().map(|name| format!("{name}\n")).collect();
            job.stdout.write_all(names).await.map_err(|_| Fault::ReaderGone)?;
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
