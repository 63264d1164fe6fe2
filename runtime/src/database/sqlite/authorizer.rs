//! The rights of a handler's statement: everything with the tables of its database, and nothing to the file, to the
//! connection or to the process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::ffi;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::database::error::SqlError;
use crate::database::limits::{FUNCTION_CALLS, PATTERN_CALLS};
use crate::database::migrations::TABLE as MIGRATIONS;

/// Pragmas that describe the schema. All others change the file or the connection, or name paths.
const DESCRIBING: [&str; 13] = [
    "collation_list",
    "foreign_key_check",
    "foreign_key_list",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
    "defer_foreign_keys",
];

/// Pragmas whose value may be read, and not set.
const READABLE: [&str; 7] = [
    "data_version",
    "foreign_keys",
    "freelist_count",
    "page_count",
    "page_size",
    "schema_version",
    "user_version",
];

/// Virtual tables whose content is in the database itself.
const VIRTUAL: [&str; 3] = ["fts5", "rtree", "fts5vocab"];

/// Whose statements a connection runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    /// A handler's.
    Handler,
    /// The operator's, in a migration. They may not end its transaction.
    Migration,
    /// The daemon's own.
    Daemon,
}

/// Decides what the statements of a connection may do.
#[derive(Clone)]
pub(super) struct Authorizer(Arc<Mutex<AuthorizerState>>);

struct AuthorizerState {
    author: Author,
    /// Why the last refusal was made.
    reason: Option<SqlError>,
    /// The calls of functions in the statement that is prepared.
    calls: u32,
    /// Whether a transaction was open when the statement began.
    is_open: bool,
    /// Whether the statement has the name of the table of migrations in it.
    names_migrations: bool,
}

impl Authorizer {
    pub(super) fn new(author: Author) -> Authorizer {
        let (reason, calls, is_open, names_migrations) = (None, 0, false, false);
        Authorizer(Arc::new(Mutex::new(AuthorizerState { author, reason, calls, is_open, names_migrations })))
    }

    /// Sets whose statements follow.
    pub(super) fn set(&self, author: Author) {
        self.state().author = author;
    }

    /// Begins a statement, in an open transaction or outside of one.
    pub(super) fn begin(&self, sql: &str, is_open: bool) {
        let mut state = self.state();
        (state.reason, state.calls, state.is_open) = (None, 0, is_open);
        state.names_migrations = contains(sql, MIGRATIONS);
    }

    /// Counts the calls of functions anew. A statement is prepared again when the schema has changed.
    pub(super) fn forget_calls(&self) {
        self.state().calls = 0;
    }

    /// Runs a statement of the daemon's own.
    pub(super) fn as_daemon<T>(&self, run: impl FnOnce() -> T) -> T {
        let author = std::mem::replace(&mut self.state().author, Author::Daemon);
        let done = run();
        self.state().author = author;
        done
    }

    /// Returns the reason of the last refusal, once.
    pub(super) fn take_reason(&self) -> Option<SqlError> {
        self.state().reason.take()
    }

    /// Decides about one action, and keeps the reason of a refusal. `has_to_stop` tells whether the time of the statement
    /// is over: nested views take SQLite seconds to prepare, without a look at the clock.
    pub(super) fn judge(&self, context: AuthContext<'_>, has_to_stop: impl Fn() -> bool) -> Authorization {
        let mut state = self.state();
        let author = state.author;
        let reason = match author {
            Author::Daemon => None,
            _ if has_to_stop() => Some(SqlError::Timeout("the statement took too long".to_owned())),
            Author::Migration => {
                let is_end = matches!(context.action, AuthAction::Transaction { .. });
                let ends =
                    || "a migration is one transaction: leave BEGIN, COMMIT and ROLLBACK out".to_owned();
                is_end.then(ends).or_else(|| refusal(context)).map(SqlError::NotAllowed)
            }
            Author::Handler => {
                let refused = state.refusal(&context.action);
                refused.or_else(|| refusal(context)).map(SqlError::NotAllowed)
            }
        };
        match reason {
            None => Authorization::Allow,
            Some(reason) => {
                state.reason = Some(reason);
                Authorization::Deny
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, AuthorizerState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AuthorizerState {
    /// Returns why an action is refused in this statement of a handler.
    fn refusal(&mut self, action: &AuthAction<'_>) -> Option<String> {
        match action {
            AuthAction::Function { function_name } => {
                let is_pattern = ["like", "glob"].iter().any(|name| name.eq_ignore_ascii_case(function_name));
                self.calls = self.calls.saturating_add(if is_pattern { PATTERN_CALLS } else { 1 });
                (self.calls > FUNCTION_CALLS).then(|| {
                    format!(
                        "a statement has {FUNCTION_CALLS} calls of functions at most, and LIKE and GLOB count \
                         {PATTERN_CALLS} each: split it"
                    )
                })
            }
            // SQLite does not pass the new name.
            AuthAction::AlterTable { .. } if self.names_migrations => Some(owned_name()),
            // Outside of a transaction it would be for the next one, which may be that of another job.
            AuthAction::Pragma { pragma_name, pragma_value: Some(_) }
                if !self.is_open && pragma_name.eq_ignore_ascii_case("defer_foreign_keys") =>
            {
                Some(
                    "PRAGMA defer_foreign_keys is for the transaction that is open: begin one first"
                        .to_owned(),
                )
            }
            _ => None,
        }
    }
}

/// Whether a text contains a name, in letters of any case.
fn contains(sql: &str, name: &str) -> bool {
    let name = name.as_bytes();
    sql.as_bytes().windows(name.len()).any(|found| found.eq_ignore_ascii_case(name))
}

/// Reports whether SQLite itself takes this action for an ALTER TABLE: it reads and updates the schema of temporary tables
/// too. There are no such tables.
fn is_of_alter(action: &AuthAction<'_>) -> bool {
    match action {
        AuthAction::Read { table_name, .. } | AuthAction::Update { table_name, .. } => {
            ["sqlite_temp_master", "sqlite_temp_schema"]
                .iter()
                .any(|schema| schema.eq_ignore_ascii_case(table_name))
        }
        _ => false,
    }
}

fn owned_name() -> String {
    format!("{MIGRATIONS} is the daemon's: it cannot be changed")
}

/// Returns why an action is refused; `None` if it is allowed.
fn refusal(context: AuthContext<'_>) -> Option<String> {
    let temporary =
        || Some("temporary tables are not allowed: use WITH, or a table of the database".to_owned());
    if context.database_name.is_some_and(|name| name.eq_ignore_ascii_case("temp"))
        && !is_of_alter(&context.action)
    {
        return temporary();
    }
    match context.action {
        // SQLite passes no name if it is an expression.
        AuthAction::Attach { .. } | AuthAction::Unknown { code: ffi::SQLITE_ATTACH, .. } => {
            Some("ATTACH and VACUUM are not allowed".to_owned())
        }
        AuthAction::Detach { .. } => Some("DETACH is not allowed".to_owned()),
        AuthAction::Unknown { code, .. } => Some(format!("the action {code} is not allowed")),
        AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. } => temporary(),
        AuthAction::Pragma { pragma_name, pragma_value } => {
            let is = |list: &[&str]| list.iter().any(|name| name.eq_ignore_ascii_case(pragma_name));
            let is_allowed = is(&DESCRIBING) || is(&READABLE) && pragma_value.is_none();
            (!is_allowed).then(|| format!("PRAGMA {pragma_name} is not allowed"))
        }
        AuthAction::CreateVtable { table_name: name, .. }
        | AuthAction::CreateView { view_name: name }
        | AuthAction::CreateIndex { index_name: name, .. }
            if name.eq_ignore_ascii_case(MIGRATIONS) =>
        {
            Some(owned_name())
        }
        AuthAction::CreateVtable { module_name, .. } => {
            let is_allowed = VIRTUAL.iter().any(|name| name.eq_ignore_ascii_case(module_name));
            (!is_allowed).then(|| format!("virtual tables of {module_name} are not allowed"))
        }
        AuthAction::Function { function_name } if function_name.eq_ignore_ascii_case("load_extension") => {
            Some("load_extension is not allowed".to_owned())
        }
        AuthAction::CreateTable { table_name }
        | AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name }
        | AuthAction::DropTable { table_name }
        | AuthAction::AlterTable { table_name, .. }
        | AuthAction::CreateIndex { table_name, .. }
        | AuthAction::CreateTrigger { table_name, .. }
            if table_name.eq_ignore_ascii_case(MIGRATIONS) =>
        {
            Some(owned_name())
        }
        _ => None,
    }
}
