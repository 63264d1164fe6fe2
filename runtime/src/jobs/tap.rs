//! `tap [CONDITION]...`: jobs and requests as they end, one JSON object a line.

use std::sync::Arc;

use super::api::{DroppedLines, TapCommand};
use super::ended_job::report;
use super::reply::{line, tell};
use super::tap_filter::TapFilter;
use crate::engine::{Engine, NativeJob};
use crate::job::{Fault, Job, Run, Status};
use crate::observe::history::TapBatch;

/// Listens to the ends of jobs of this engine.
pub struct Tap;

impl NativeJob for Tap {
    fn run(self: Arc<Self>, engine: Arc<Engine>, job: Job) -> Run {
        Box::pin(async move {
            let filter = match TapFilter::parse(&TapCommand::decode(&job.args).filter) {
                Ok(filter) => filter,
                Err(error) => return tell(&job, Err(error)).await,
            };
            let mut listener = engine.history().tap(move |entry| filter.selects(entry));
            job.usage.listen();
            while let Some(TapBatch { dropped, entries }) = listener.next().await {
                let mut text = match dropped {
                    0 => String::new(),
                    dropped => line(&DroppedLines { dropped }),
                };
                text.extend(entries.iter().map(|entry| line(&report(entry))));
                // A slow reader makes only this job wait, and then loses the oldest entries.
                job.stdout.write_all(text).await.map_err(|_| Fault::ReaderGone)?;
            }
            Ok(Status::OK)
        })
    }
}
