//! `history [--failed] [-n N] [--job ID] [HANDLER]`: the ended jobs, oldest first, as a JSON array.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::task::spawn_blocking;

use super::api::{EndedJobReport, HistoryCommand};
use super::daemon_state::DaemonState;
use super::ended_job::{nested, report};
use super::reply::ReplyJob;
use crate::engine::Engine;
use crate::job::{Job, JobId};
use crate::observe::history::ChunkEntry;
use crate::record;

/// Lists the ended jobs of this engine.
pub struct TellHistory {
    /// The configuration, which names the directory of recorded failures.
    pub state: Arc<DaemonState>,
}

impl ReplyJob for TellHistory {
    type Command = HistoryCommand;

    async fn answer(&self, engine: &Arc<Engine>, job: &Job) -> Result<Vec<EndedJobReport>> {
        let HistoryCommand { handler, failed, lines, job } = HistoryCommand::decode(&job.args)?;
        let history = engine.history();
        ensure!(
            history.figures().limit > 0,
            "no ended jobs are kept (history = \"none\"): set history = \"4MiB\" and reload"
        );
        let entries = history.recent();
        if let Some(id) = job {
            return Ok(vec![self.one(engine, &entries, &id).await?]);
        }
        if let Some(name) = &handler {
            let is_known = engine.live().pin().handlers.contains_key(name.as_str());
            ensure!(is_known, "there is no handler {name:?}: `portcullis handlers` lists them");
        }
        let is_wanted = |entry: &&ChunkEntry| {
            let of_handler = |name: &String| entry.version().handler == *name;
            handler.as_ref().is_none_or(of_handler) && (!failed || !entry.is_well())
        };
        let wanted: Vec<_> = entries.iter().filter(is_wanted).collect();
        let from = lines.map_or(0, |lines| wanted.len().saturating_sub(lines));
        Ok(wanted[from..].iter().map(|entry| report(&entry.unpacked())).collect())
    }
}

impl TellHistory {
    /// Reports one job, with the jobs that it called and its record.
    async fn one(&self, engine: &Engine, entries: &[ChunkEntry], id: &str) -> Result<EndedJobReport> {
        let number: JobId = id
            .parse()
            .ok()
            .with_context(|| format!("{id:?} is not the id of a job: `history` lists them"))?;
        let Some(entry) = entries.iter().find(|entry| entry.id() == Some(number.0)) else {
            if engine.snapshots().iter().any(|found| found.id == number) {
                bail!("job {number} still runs: `portcullis jobs` shows it");
            }
            bail!("job {number} is not in the history, which keeps the last jobs of each handler (history)");
        };
        let entry = entry.unpacked();
        let began = entry.began();
        let called = entries.iter().filter(|other| other.parent() == Some(number.0));
        let jobs = called.filter_map(|other| nested(&other.unpacked(), began?)).collect();
        Ok(EndedJobReport { jobs, replay: self.recorded(number).await?, ..report(&entry) })
    }

    /// Finds the record of a failed job.
    async fn recorded(&self, id: JobId) -> Result<Option<String>> {
        let Some(dir) = self.state.config.load().record_dir.clone() else { return Ok(None) };
        let file: Option<PathBuf> = spawn_blocking(move || record::find(&dir, id)).await?;
        Ok(file.map(|file| file.display().to_string()))
    }
}
