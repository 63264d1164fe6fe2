//! `storedump NAME [PREFIX]`: all entries of a store, one JSON object a line.

use std::sync::Arc;

use super::find::OperatorStores;
use crate::engine::{Engine, NativeJob};
use crate::job::{Fault, Job, Run, Status};
use crate::jobs::api::{DumpedEntry, StoreDumpCommand};
use crate::jobs::reply::{json, tell};

/// Writes the entries of stores.
pub struct DumpStore {
    /// The stores.
    pub stores: Arc<OperatorStores>,
}

/// Why a dump has ended early.
enum DumpError {
    /// The store failed.
    Store(anyhow::Error),
    /// The reader has left.
    ReaderGone,
}

impl NativeJob for DumpStore {
    fn run(self: Arc<Self>, _engine: Arc<Engine>, job: Job) -> Run {
        Box::pin(async move {
            match self.dump(&job).await {
                Ok(()) => Ok(Status::OK),
                Err(DumpError::Store(error)) => tell(&job, Err(error)).await,
                Err(DumpError::ReaderGone) => Err(Fault::ReaderGone),
            }
        })
    }
}

impl DumpStore {
    /// Writes the entries at the pace of the reader, with one batch of them in memory.
    async fn dump(&self, job: &Job) -> Result<(), DumpError> {
        let StoreDumpCommand { store, prefix } = StoreDumpCommand::decode(&job.args)?;
        let store = self.stores.find(&store)?;
        let failed = |error| DumpError::Store(store.error(&error));
        let open = store.open().await?;
        let mut entries = open.entries(&prefix).await.map_err(failed)?;
        while let Some(batch) = entries.next().await.map_err(failed)? {
            let mut text = String::new();
            for entry in batch {
                text.push_str(&json(&DumpedEntry::of(entry))?);
                text.push('\n');
            }
            job.stdout.write_all(text).await.map_err(|_| DumpError::ReaderGone)?;
        }
        Ok(())
    }
}

impl From<anyhow::Error> for DumpError {
    fn from(error: anyhow::Error) -> DumpError {
        DumpError::Store(error)
    }
}
