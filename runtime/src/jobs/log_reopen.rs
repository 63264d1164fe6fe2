//! `log-reopen`: opens the file of the access log again, after a rotation.

use std::sync::Arc;

use anyhow::Result;
use tracing::info;

use super::api::{LogReopenCommand, LogReopenReply};
use super::reply::ReplyJob;
use crate::engine::Engine;
use crate::job::Job;
use crate::observe::access_file;

/// Reopens the file, as SIGUSR1 does.
pub struct ReopenLog;

impl ReplyJob for ReopenLog {
    type Command = LogReopenCommand;

    async fn answer(&self, _engine: &Arc<Engine>, _job: &Job) -> Result<LogReopenReply> {
        // On a thread of its own: a network file system may take long.
        let path = tokio::task::spawn_blocking(access_file::reopen).await??;
        info!("reopened {}", path.display());
        Ok(LogReopenReply { reopened: path.display().to_string() })
    }
}
