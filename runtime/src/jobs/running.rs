//! `jobs`: what runs now, oldest first, as a JSON array.

use std::sync::{Arc, Weak};

use serde_json::{Value, json};

use super::describe::millis;
use super::tell::tell;
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
            let jobs: Vec<Value> = engine.sightings().iter().map(show).collect();
            tell(&job, Ok(Value::from(jobs).to_string())).await
        })
    }

    fn tenure(&self) -> Tenure {
        Tenure::Attendance
    }

    fn stay(&self) -> Stay {
        Stay::Moment
    }
}

fn show(sighting: &Sighting) -> Value {
    let Sighting { id, entry, age, cpu, memory, written, parent } = sighting;
    json!({
        "id": id.to_string(),
        "parent": parent.map(|parent| parent.to_string()),
        "handler": entry.name.as_str(),
        "kind": entry.kind.to_string(),
        "version": entry.version,
        "age_ms": millis(*age),
        "cpu_ms": millis(*cpu),
        "memory": memory,
        "written": written,
    })
}
