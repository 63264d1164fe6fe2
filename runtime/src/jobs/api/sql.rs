//! `sql`: the command, and the reply with the rows of a statement.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::command::{Command, call};
use crate::http::client::JobCall;
use crate::job::{Policy, builtin};

/// Runs the statement in the input of the job on a database, or copies the database.
pub struct QueryCommand {
    /// The name in the configuration.
    pub database: String,
    /// Whether the output is a copy of the database, instead of the reply.
    pub is_backup: bool,
}

impl QueryCommand {
    const BACKUP: &str = "--backup";

    /// Reads the arguments of a job.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<QueryCommand> {
        Ok(match args {
            [name] => QueryCommand { database: name.clone(), is_backup: false },
            [name, flag] if flag == QueryCommand::BACKUP => {
                QueryCommand { database: name.clone(), is_backup: true }
            }
            _ => bail!("usage: sql NAME with a statement on stdin, or sql NAME {}", QueryCommand::BACKUP),
        })
    }
}

impl Command for QueryCommand {
    const NAME: &'static str = builtin::SQL;
    const POLICY: Policy = Policy::WORK;
    type Reply = QueryReply;

    fn encode(&self) -> JobCall {
        let backup = self.is_backup.then(|| QueryCommand::BACKUP.to_owned());
        call::<Self>([self.database.clone()].into_iter().chain(backup))
    }
}

/// The result of a statement.
#[derive(Serialize, Deserialize)]
pub struct QueryReply {
    /// The names of the columns; empty if the statement returns no rows.
    pub columns: Vec<String>,
    /// The rows. A blob is a text of hexadecimal digits behind `\x`.
    pub rows: Vec<Vec<Value>>,
    /// The rows that the statement inserted, updated or deleted.
    pub changed: u64,
}
