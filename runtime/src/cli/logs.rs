//! `portcullis logs`: prints the stderr lines of jobs and how they ended.

use std::process::ExitCode;

use anyhow::Result;

use super::say;
use super::socket::{Socket, end};
use super::table::text;
use crate::jobs::api::{DroppedLines, LoggedLine, LogsCommand};

/// Show the latest stderr lines of handlers, and how jobs ended.
///
/// Successful jobs appear only while a client follows the log.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Follow new lines, until the daemon ends.
    #[arg(short, long)]
    follow: bool,
    /// Show only the last N lines.
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    /// Show only this handler.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    socket: Socket,
}

pub(super) fn logs(args: Args) -> Result<ExitCode> {
    let Args { follow, lines, name, socket } = args;
    let each = |line: &str| say(&if socket.json { line.to_owned() } else { readable(line) });
    // A reader that closes stdout, such as `grep -m1`, has what it wanted.
    Ok(socket
        .follow(&LogsCommand { follow, lines, name }, follow, each)?
        .map_or(ExitCode::SUCCESS, |outcome| end(&outcome)))
}

/// Turns a line of the journal into a line for people. A line that cannot be parsed stays as it is.
fn readable(line: &str) -> String {
    if let Ok(DroppedLines { dropped }) = serde_json::from_str(line) {
        return format!("... {dropped} lines were dropped: this reader was too slow");
    }
    let Ok(LoggedLine { time, job, handler, parent, said, ended, failed }) = serde_json::from_str(line)
    else {
        return text(line);
    };
    let [time, handler] = [time, handler].map(|value| text(&value));
    let job = match parent {
        Some(parent) => format!("{} of {}", text(&job), text(&parent)),
        None => text(&job),
    };
    let (verb, told) = match (said, failed) {
        (Some(said), _) => ("", said),
        (None, Some(failed)) => (" failed", failed),
        (None, None) => (" ended", ended.unwrap_or_default()),
    };
    format!("{time} [{job}] {handler}{verb}: {}", text(&told))
}
