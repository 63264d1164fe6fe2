//! `log-level [FILTER]`: shows or sets the levels of the log, by module.

use std::sync::Arc;

use anyhow::Result;
use tracing::info;

use super::api::{LogLevelCommand, LogLevelReply};
use super::reply::ReplyJob;
use crate::engine::Engine;
use crate::job::Job;
use crate::observe::log;

/// Shows or sets the levels of this process.
pub struct SetLogLevel;

impl ReplyJob for SetLogLevel {
    type Command = LogLevelCommand;

    async fn answer(&self, _engine: &Arc<Engine>, job: &Job) -> Result<LogLevelReply> {
        let LogLevelCommand { filter } = LogLevelCommand::decode(&job.args)?;
        let before = log::filter();
        if let Some(filter) = &filter {
            let set = log::set_filter(filter)?;
            info!("log level: {set} (it was {before})");
        }
        Ok(LogLevelReply { filter: log::filter(), before })
    }
}
