//! `version`: what this daemon is, as a JSON object.

use std::sync::Arc;

use serde_json::json;

use crate::job::{Fault, Handler, Job, Run, Status, Stay, Tenure};
use crate::observe::build;

/// Says the version.
pub struct Version;

impl Handler for Version {
    fn run(self: Arc<Self>, job: Job) -> Run {
        Box::pin(async move {
            let facts = json!({
                "version": build::VERSION,
                "commit": build::COMMIT,
                "wasmtime": build::WASMTIME,
                "os": std::env::consts::OS,
                "arch": std::env::consts::ARCH,
            });
            job.stdout.write_all(format!("{facts}\n")).await.map_err(|_| Fault::ReaderGone)?;
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
