//! `sql NAME`: runs an operator's statement on a database that serving handlers have, or copies the database.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use data_encoding::HEXLOWER;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use super::api::{QueryCommand, QueryReply};
use super::reply::{reply, tell};
use crate::database::{DatabaseSession, MAX_SQL, SharedDatabase, SqlCommand, SqlValue};
use crate::engine::{Engine, NativeJob};
use crate::job::{Fault, Job, Run, Status};

/// Runs statements of operators.
pub struct QueryDatabase;

/// Bytes of a copy that are in memory at once.
const PIECE: usize = 64 << 10;

impl NativeJob for QueryDatabase {
    fn run(self: Arc<Self>, engine: Arc<Engine>, mut job: Job) -> Run {
        Box::pin(async move {
            let found = QueryCommand::decode(&job.args).and_then(|command| {
                let database = find(&engine, &command.database)?;
                Ok((command.is_backup, database))
            });
            match found {
                Err(refusal) => tell(&job, Err(refusal)).await,
                Ok((true, database)) => backup(&job, &database).await,
                Ok((false, database)) => match job.stdin.read_to_end(MAX_SQL as u64).await {
                    Ok(sql) => reply::<QueryCommand>(&job, query(&database, sql).await).await,
                    Err(Fault::InputTooLarge(max)) => {
                        tell(&job, Err(anyhow!("a statement has {max} bytes at most: split it"))).await
                    }
                    Err(fault) => Err(fault),
                },
            }
        })
    }
}

/// Returns the databases of the handlers that serve, by their names in the configuration.
pub(super) fn databases(engine: &Engine) -> BTreeMap<String, Arc<SharedDatabase>> {
    let catalog = engine.live().pin();
    let granted = catalog.entries().flat_map(|entry| entry.grants.databases.iter());
    granted.map(|grant| (grant.database.options().name.clone(), grant.database.clone())).collect()
}

fn find(engine: &Engine, name: &str) -> Result<Arc<SharedDatabase>> {
    let mut databases = databases(engine);
    match databases.remove(name) {
        Some(database) => Ok(database),
        None if databases.is_empty() => bail!("no handler has a database: grant one with `databases`"),
        None => {
            let names: Vec<String> = databases.into_keys().collect();
            Err(anyhow!("no handler has a database {name:?}; databases: {}", names.join(", ")))
        }
    }
}

async fn query(database: &SharedDatabase, sql: Vec<u8>) -> Result<QueryReply> {
    let sql = String::from_utf8(sql).ok().context("the statement is not UTF-8")?;
    let statement = SqlCommand::Statement { sql, parameters: Vec::new() };
    // An open transaction ends with this job.
    let result = DatabaseSession::default().run(database, statement).await?;
    let row = |row: Vec<SqlValue>| row.into_iter().map(shown).collect();
    Ok(QueryReply {
        columns: result.columns,
        rows: result.rows.into_iter().map(row).collect(),
        changed: result.changed,
    })
}

fn shown(value: SqlValue) -> Value {
    match value {
        SqlValue::Null => Value::Null,
        SqlValue::Integer(number) => number.into(),
        SqlValue::Real(number) if number.is_finite() => number.into(),
        // JSON has no such number, and it would be shown as NULL.
        SqlValue::Real(number) => number.to_string().into(),
        SqlValue::Text(text) => text.into(),
        SqlValue::Blob(bytes) => format!("\\x{}", HEXLOWER.encode(&bytes)).into(),
    }
}

/// Writes a copy of the database, at the pace of its reader.
async fn backup(job: &Job, database: &SharedDatabase) -> Result<Status, Fault> {
    let mut copy = match database.backup().await {
        Ok(copy) => tokio::fs::File::from_std(copy),
        Err(error) => return tell(job, Err(error.into())).await,
    };
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        match copy.read_buf(&mut piece).await {
            Ok(0) => return Ok(Status::OK),
            Ok(_) => job.stdout.write_all(piece).await.map_err(|_| Fault::ReaderGone)?,
            // The reader has a part: only the status says so.
            Err(error) => return tell(job, Err(error.into())).await,
        }
    }
}
