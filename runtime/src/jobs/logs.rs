//! `logs [-f] [-n N] [NAME]`: the stderr lines and outcomes of jobs, one JSON object a line.

use std::sync::Arc;

use anyhow::{Result, ensure};

use super::api::{DroppedLines, LoggedLine, LogsCommand};
use super::reply::{self, tell};
use crate::engine::{Batch, Engine, Event, JournalLine, NativeJob};
use crate::job::{BUILTIN, Fault, Job, Name, Run, Status};

/// Writes the journal of this engine.
pub struct TellLogs;

/// The maximum number of handlers that an error lists.
const SHOWN: usize = 50;

impl NativeJob for TellLogs {
    fn run(self: Arc<Self>, engine: Arc<Engine>, job: Job) -> Run {
        Box::pin(async move {
            let journal = engine.journal().clone();
            let command = LogsCommand::decode(&job.args).and_then(|command| known(command, &engine));
            let LogsCommand { follow, lines, name } = match command {
                Ok(command) => command,
                Err(error) => return tell(&job, Err(error)).await,
            };
            let is_wanted =
                |line: &JournalLine| name.as_ref().is_none_or(|name| name == line.handler.as_str());
            let (recent, mut follower) = if follow {
                let (recent, follower) = journal.follow();
                (recent, Some(follower))
            } else {
                (journal.recent(), None)
            };
            job.usage.listen();
            let recent: Vec<_> = recent.iter().filter(|line| is_wanted(line)).collect();
            let from = lines.map_or(0, |lines| recent.len().saturating_sub(lines));
            let mut text: String = recent[from..].iter().map(|line| report(line)).collect();
            loop {
                // A slow reader makes only this job wait.
                job.stdout.write_all(text).await.map_err(|_| Fault::ReaderGone)?;
                let Some(follower) = &mut follower else { return Ok(Status::OK) };
                let Some(Batch { dropped, lines }) = follower.next().await else { return Ok(Status::OK) };
                text = match dropped {
                    0 => String::new(),
                    dropped => reply::line(&DroppedLines { dropped }),
                };
                text.extend(lines.iter().filter(|line| is_wanted(line)).map(|line| report(line)));
            }
        })
    }
}

/// Refuses a name that belongs to no handler and no job, and that the journal does not contain.
fn known(command: LogsCommand, engine: &Engine) -> Result<LogsCommand> {
    let Some(name) = command.name.as_deref() else { return Ok(command) };
    let catalog = engine.live().pin();
    let is_known = catalog.handlers.contains_key(name)
        || BUILTIN.contains(&name)
        || engine.journal().recent().iter().any(|line| line.handler.as_str() == name);
    let handlers: Vec<&str> = catalog.handlers.keys().map(Name::as_str).take(SHOWN).collect();
    let more = match catalog.handlers.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    ensure!(
        is_known,
        "there is no handler or job {name:?}; handlers: {}{more}; jobs of the daemon: {}",
        if handlers.is_empty() { "none".to_owned() } else { handlers.join(", ") },
        BUILTIN.join(", ")
    );
    Ok(command)
}

fn report(line: &JournalLine) -> String {
    let (said, ended, failed) = match &line.event {
        Event::Said(text) => (Some(text.clone()), None, None),
        Event::Ended(text) => (None, Some(text.clone()), None),
        Event::Failed(text) => (None, None, Some(text.clone())),
    };
    reply::line(&LoggedLine {
        time: line.time.clone(),
        job: line.job.id.to_string(),
        handler: line.handler.to_string(),
        parent: line.job.parent.map(|parent| parent.to_string()),
        said,
        ended,
        failed,
    })
}
