//! `portcullis sql`: runs a statement on a database of the daemon, or saves a copy of it.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::say;
use super::socket::{Socket, end};
use super::table::{print, text};
use crate::database::MAX_SQL;
use crate::jobs::api::{QueryCommand, QueryReply};
use crate::observe::counted;

/// Run a statement on a database of the daemon, or save a copy of the database.
///
/// The limits are those of a handler: one statement, 10,000 rows, 30 s. A copy shows one moment, and handlers go on
/// meanwhile. Only SQLite databases can be copied; for a PostgreSQL server, use pg_dump.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The database, as [database.NAME] names it.
    #[arg(value_name = "NAME")]
    database: String,
    /// The statement; without it, stdin is read.
    #[arg(value_name = "STATEMENT", conflicts_with = "backup")]
    statement: Option<String>,
    /// Save a copy of the database in this file, which is replaced when the copy is complete.
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
    #[command(flatten)]
    socket: Socket,
}

pub(super) fn sql(Args { database, statement, backup, socket }: Args) -> Result<ExitCode> {
    if let Some(file) = backup {
        return save(&socket, database, &file).with_context(|| file.display().to_string());
    }
    let statement = match statement {
        Some(statement) => statement.into_bytes(),
        None => {
            let mut bytes = Vec::new();
            // One byte more than the daemon accepts, so that the daemon reports the limit.
            std::io::stdin().take(MAX_SQL as u64 + 1).read_to_end(&mut bytes)?;
            bytes
        }
    };
    socket.show(&QueryCommand { database, is_backup: false }, statement, |reply| show(&reply))
}

fn show(QueryReply { columns, rows, changed }: &QueryReply) {
    if columns.is_empty() {
        return say(&format!("{} changed", counted(*changed, "row")));
    }
    let cell = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(written) => text(written),
        other => other.to_string(),
    };
    let titles: Vec<String> = columns.iter().map(|name| text(name)).collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    print(&titles, &rows);
}

/// Saves a copy under its name when it is whole.
fn save(socket: &Socket, database: String, file: &Path) -> Result<ExitCode> {
    let part = file.with_added_extension("part");
    // A file that was left there has a mode of its own, or is a link to elsewhere.
    match fs::remove_file(&part) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    let copied = socket.copy(&QueryCommand { database, is_backup: true }, |piece| Ok(out.write_all(piece)?));
    let outcome = match copied {
        Ok(outcome) if outcome.status.is_ok() => {
            out.sync_all()?;
            fs::rename(&part, file)?;
            return Ok(end(&outcome));
        }
        outcome => outcome,
    };
    fs::remove_file(&part)?;
    Ok(end(&outcome?))
}
