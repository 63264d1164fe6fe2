//! `commands`: the names of the built-in jobs, sorted, one a line.

use std::sync::Arc;

use crate::engine::{Engine, NativeJob};
use crate::job::{Fault, Job, Run, Status};

/// Lists the jobs that are registered with this engine.
pub struct Commands;

impl NativeJob for Commands {
    fn run(self: Arc<Self>, engine: Arc<Engine>, job: Job) -> Run {
        Box::pin(async move {
            let names: String = engine.registry().names().iter().map(|name| format!("{name}\n")).collect();
            job.stdout.write_all(names).await.map_err(|_| Fault::ReaderGone)?;
            Ok(Status::OK)
        })
    }
}
