//! `jobs`: the running jobs, oldest first, as a JSON array.

use std::sync::Arc;

use anyhow::Result;

use super::api::{JobReport, JobsCommand};
use super::describe::millis;
use super::reply::ReplyJob;
use crate::engine::{Engine, JobSnapshot};
use crate::job::Job;

/// Lists the jobs of this engine.
pub struct ListJobs;

impl ReplyJob for ListJobs {
    type Command = JobsCommand;

    async fn answer(&self, engine: &Arc<Engine>, _job: &Job) -> Result<Vec<JobReport>> {
        Ok(engine.snapshots().iter().map(report).collect())
    }
}

fn report(snapshot: &JobSnapshot) -> JobReport {
    let JobSnapshot { id, entry, age, cpu, memory, written, parent } = snapshot;
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
