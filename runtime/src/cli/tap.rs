//! `portcullis tap`: prints jobs and requests as they end.

use std::process::ExitCode;

use anyhow::Result;

use super::history::{ms, outcome};
use super::say;
use super::socket::{Socket, end};
use super::table::{or_dash, size, text};
use crate::jobs::api::{DroppedLines, EndedJobReport, TapCommand};

/// Show requests and other jobs as they end, until the daemon ends.
///
/// Conditions are FIELD OPERATOR VALUE without spaces, such as 'handler=notes status>=500 duration>50ms', and must all
/// hold. Quote them for the shell. Fields: handler, version, kind, id, parent, trace, method, path, route, client, outcome,
/// status, exit, duration, started, first_byte, cpu, memory, read, sent. Operators: = != < <= > >=.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Conditions that select the jobs.
    #[arg(value_name = "CONDITION")]
    conditions: Vec<String>,
    #[command(flatten)]
    socket: Socket,
}

pub(super) fn tap(Args { conditions, socket }: Args) -> Result<ExitCode> {
    let each = |line: &str| say(&if socket.json { line.to_owned() } else { readable(line) });
    let command = TapCommand { filter: conditions.join(" ") };
    Ok(socket.follow(&command, true, each)?.map_or(ExitCode::SUCCESS, |outcome| end(&outcome)))
}

/// Turns a line of the job into a line for people. A line that cannot be parsed stays as it is.
fn readable(line: &str) -> String {
    if let Ok(DroppedLines { dropped }) = serde_json::from_str(line) {
        return format!("... {dropped} were dropped: this reader was too slow");
    }
    let Ok(job) = serde_json::from_str::<EndedJobReport>(line) else { return text(line) };
    let asked = match (&job.request, &job.parent) {
        (Some(request), _) => {
            let status = or_dash(request.status, |status| status.to_string());
            let end = if request.complete { "" } else { ", broken off" };
            format!(
                "{} {} -> {status}, {}{end}",
                text(&request.method),
                text(&request.path),
                size(request.sent)
            )
        }
        (None, Some(parent)) => format!("called by {}", text(parent)),
        (None, None) => "run".to_owned(),
    };
    let by = match (&job.handler, &job.version) {
        (Some(handler), Some(version)) => format!(" by {}@{}", text(handler), text(version)),
        _ => String::new(),
    };
    let cpu = job.run.as_ref().map_or_else(String::new, |run| format!(", cpu {}", ms(run.cpu_ms)));
    let trace = job.trace_id.as_ref().map_or_else(String::new, |trace| format!(", trace {}", text(trace)));
    let id = job.id.as_ref().map_or_else(String::new, |id| format!("[{}] ", text(id)));
    format!("{} {id}{asked}{by} in {}{cpu}{trace}: {}", text(&job.began), ms(job.total_ms), outcome(&job))
}
