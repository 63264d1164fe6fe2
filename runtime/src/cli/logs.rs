//! `portcullis logs`: what the daemon's jobs said and how they ended.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::say;
use super::socket::{Socket, call, end};
use super::table::text;

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
    let follow = follow.then(|| "-f".to_owned());
    let lines = lines.into_iter().flat_map(|lines| ["-n".to_owned(), lines.to_string()]);
    let call = call("logs", follow.into_iter().chain(lines).chain(name));
    let mut begun = Vec::new();
    let each = |piece: &[u8]| {
        begun.extend_from_slice(piece);
        while let Some(end) = begun.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = begun.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            say(&if socket.json { line } else { readable(&line) });
        }
    };
    // Whoever reads no more, as `grep -m1` does, has what was wanted.
    Ok(socket.follow(call, each)?.map_or(ExitCode::SUCCESS, |outcome| end(&outcome)))
}

/// Turns an object into a line for a person.
fn readable(line: &str) -> String {
    let Ok(object) = serde_json::from_str::<Value>(line) else { return line.to_owned() };
    if let Some(dropped) = object.get("dropped") {
        return format!("... {dropped} lines were dropped: this reader was too slow");
    }
    let [time, job, handler] = ["time", "job", "handler"].map(|key| text(&object[key]));
    let job = match object.get("parent") {
        Some(parent) => format!("{job} of {}", text(parent)),
        None => job,
    };
    match object.get("said") {
        Some(said) => format!("{time} [{job}] {handler}: {}", text(said)),
        None => format!("{time} [{job}] {handler} ended: {}", text(&object["ended"])),
    }
}
