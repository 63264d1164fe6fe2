//! Opens a connection: the file made if it is not there, and everything refused that a handler must not do.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rusqlite::config::DbConfig;
use rusqlite::hooks::AuthContext;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::authorizer::Authorizer;
use super::control::StatementControl;
use super::{failure, functions, memory};
use crate::database::error::SqlError;
use crate::database::limits::{FUNCTION_ARGUMENTS, MAX_MIGRATION, MAX_PARAMETERS, MAX_SQL, MAX_VALUE};

/// Instructions of SQLite's machine between two looks at the clock: some tens of microseconds.
const INSTRUCTIONS: i32 = 1000;

/// Statements that a connection keeps prepared.
const PREPARED: usize = 32;

/// Bytes of SQLite in the whole process from which on caches grow no more.
const CACHES: u64 = 128 << 20;

/// Bytes of SQLite in the whole process at which statements fail, if memory is not counted by connection.
const UNCOUNTED: u64 = 256 << 20;

/// Opens a connection. Blocks. A file that was there before is not made again.
///
/// # Errors
/// The file cannot be opened, or is no database.
pub(super) fn open(
    path: &Path,
    control: &Arc<StatementControl>,
    authorizer: &Authorizer,
) -> Result<Connection, SqlError> {
    memory::count_by_thread();
    if !control.file().is_known() {
        make(path).map_err(|error| SqlError::Unavailable(format!("{}: {error}", path.display())))?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let opened = Connection::open_with_flags(path, flags).and_then(|mut connection| {
        waits(&mut connection, control)?;
        settle(&connection)?;
        restrict(&connection)?;
        functions::install(&connection, control)?;
        let (judge, running) = (authorizer.clone(), control.clone());
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            judge.judge(context, || running.has_to_stop())
        }))?;
        Ok(connection)
    });
    opened.map_err(|error| failure::of(path, &error))
}

/// Makes the directory and the file if they are not there. The files beside it get the mode of this one.
fn make(path: &Path) -> io::Result<()> {
    if path.try_exists()? {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
}

/// Bounds how long the connection waits and computes.
fn waits(connection: &mut Connection, control: &Arc<StatementControl>) -> rusqlite::Result<()> {
    let (waiting, running) = (control.clone(), control.clone());
    connection.busy_handler(Some(move |count| waiting.wait_for_lock(count)))?;
    connection.progress_handler(INSTRUCTIONS, Some(move || running.has_to_stop()))
}

/// Chooses what is kept and when.
fn settle(connection: &Connection) -> rusqlite::Result<()> {
    static BOUNDED: OnceLock<()> = OnceLock::new();
    if BOUNDED.get().is_none() {
        // Twice by two connections does no harm.
        if !memory::count_by_thread() {
            connection.execute_batch(&format!("PRAGMA hard_heap_limit = {UNCOUNTED};"))?;
        }
        connection.execute_batch(&format!("PRAGMA soft_heap_limit = {CACHES};"))?;
        BOUNDED.get_or_init(|| ());
    }
    // FULL: a commit is on disk before it returns. MEMORY: nothing of a job is written outside of the database.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; \
         PRAGMA foreign_keys = ON; PRAGMA cell_size_check = ON; PRAGMA journal_size_limit = 4194304;",
    )?;
    connection.set_prepared_statement_cache_capacity(PREPARED);
    // Reads the schema, so that a file that is no database is found now.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// Limits what a statement may be. Source: sqlite.org/security.html, "Untrusted SQL Inputs".
fn restrict(connection: &Connection) -> rusqlite::Result<()> {
    let switches = [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, false),
        // A misspelled column in double quotes is an error, as it is in PostgreSQL.
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
    ];
    for (switch, on) in switches {
        connection.set_db_config(switch, on)?;
    }
    let number = |size: usize| i32::try_from(size).unwrap_or(i32::MAX);
    let limits = [
        (Limit::SQLITE_LIMIT_LENGTH, number(MAX_VALUE)),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, number(MAX_SQL)),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, number(MAX_PARAMETERS)),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 200),
        (Limit::SQLITE_LIMIT_VDBE_OP, 250_000),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 100),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, FUNCTION_ARGUMENTS),
    ];
    for (limit, most) in limits {
        connection.set_limit(limit, most)?;
    }
    Ok(())
}

/// Lets the connection take the text of a whole migration: SQLite is given all that is left with each of its statements.
pub(super) fn lift_for_migrations(connection: &Connection) -> rusqlite::Result<()> {
    let most = i32::try_from(MAX_MIGRATION).unwrap_or(i32::MAX);
    connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, most).map(drop)
}

/// Bounds the pages of the file by a quota in bytes.
pub(super) fn bound(connection: &Connection, quota: u64) -> rusqlite::Result<()> {
    let page: u64 = connection.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0))?.unsigned_abs();
    let pages = (quota / page.max(512)).clamp(1, u64::from(u32::MAX - 1));
    connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
}
