//! One suite for both back ends, with sessions as jobs have them, and tests of each back end alone.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_pool;
#[cfg(feature = "postgres")]
mod server;
#[cfg(feature = "postgres")]
mod server_tls;
mod sqlite;
mod sqlite_time;
mod suite;

use std::path::Path;
use std::sync::Arc;

use super::*;

/// The quota of a database under test.
const QUOTA: u64 = 1 << 20;

fn options(url: DatabaseUrl, connections: usize) -> DatabaseOptions {
    DatabaseOptions { name: "suite".to_owned(), url, quota: QUOTA, connections, ca: None, migrations: None }
}

/// A database in a file, of a pool of its own, as another daemon has it.
fn file(path: &Path, connections: usize) -> Arc<SharedDatabase> {
    DatabasePool::default().get(&options(DatabaseUrl::Sqlite(path.to_owned()), connections))
}

/// A database in a new directory, with a table.
async fn notes(connections: usize) -> (tempfile::TempDir, Arc<SharedDatabase>) {
    let place = tempfile::tempdir().unwrap();
    let database = file(&place.path().join("data/a.sqlite"), connections);
    run(&database, "create table notes (id integer primary key, title text unique)").await.unwrap();
    (place, database)
}

fn statement(sql: &str, parameters: &[SqlValue]) -> SqlCommand {
    SqlCommand::Statement { sql: sql.to_owned(), parameters: parameters.to_vec() }
}

async fn run(database: &SharedDatabase, sql: &str) -> Result<SqlResult, SqlError> {
    DatabaseSession::default().run(database, statement(sql, &[])).await
}

async fn count(database: &SharedDatabase) -> i64 {
    match run(database, "select count(*) from notes").await.unwrap().rows[0][0] {
        SqlValue::Integer(count) => count,
        ref other => panic!("{other:?}"),
    }
}

fn migration(number: i64, sql: &str) -> Migration {
    let file = format!("{number:04}_test.sql");
    Migration { number, file, sql: sql.to_owned(), digest: format!("digest of {sql}") }
}
