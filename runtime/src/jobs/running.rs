//! `jobs`: what runs now, oldest first, as a JSON array.

use std::sync::{Arc, Weak};

use super::api::JobReport;
use super::describe::millis;
use super::tell::reply;
use crate::engine::{Engine, Sighting};
use crate::job::{Fault, Handler, Job, Run, Stay, Tenure};

/// Lists the jobs of this engine.
pub struct ListJobs {
    /// The engine, which holds this job.
    pub engine: Weak<Engine>,
}

impl Handler for ListJobs {
    fn run(self: Arc<Self>, job: Job) -> Run {
        Box::pin(async move {
            let engine = self.engine.upgrade().ok_or(Fault::Draining)?;
            let jobs: Vec<_> = engine.sightings().iter().map(report).collect();
            reply(&job, Ok(jobs)).await
        })
    }

    fn tenure(&self) -> Tenure {
        Tenure::Attendance
    }

    fn stay(&self) -> Stay {
        Stay::Moment
    }
}

fn report(sighting: &Sighting) -> JobReport {
    let Sighting { id, entry, age, cpu, memory, written, parent } = sighting;
    JobReport {
        id: id.to_string(),
        parent: parent.map(|parent| parent.to_string()),
        handler: entry.name.to_string(),
        kind: entry.kind.to_string(),
        version: entry.version.clone(),
        age_ms: millis(*age),
        cpu_ms: millis(*cpu),
        memory: *memory,
        written: *written,
    }
}
