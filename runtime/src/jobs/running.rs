//! `jobs`: the running jobs, oldest first, as a JSON array.

use std::sync::Arc;

use super::api::JobReport;
use super::describe::millis;
use super::reply::reply;
use crate::engine::{Engine, JobSnapshot, NativeJob};
use crate::job::{Job, Run};

/// Lists the jobs of this engine.
pub struct ListJobs;

impl NativeJob for ListJobs {
    fn run(self: Arc<Self>, engine: Arc<Engine>, job: Job) -> Run {
        Box::pin(async move {
            let jobs: Vec<_> = engine.sightings().iter().map(report).collect();
            reply(&job, Ok(jobs)).await
        })
    }
}

fn report(sighting: &JobSnapshot) -> JobReport {
    let JobSnapshot { id, entry, age, cpu, memory, written, parent } = sighting;
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
