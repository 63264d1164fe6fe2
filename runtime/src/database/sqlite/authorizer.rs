//! What a statement of a handler may do: everything with the tables of its database, and nothing to the file, to the
//! connection or to the process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::ffi;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

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
    /// Those of a migration, which the operator has written: they may not end its transaction.
    Migration,
    /// The daemon's own.
    Daemon,
}

/// Decides what the statements of a connection may do.
#[derive(Clone)]
pub(super) struct Authorizer(Arc<Mutex<(Author, Option<String>)>>);

impl Authorizer {
    pub(super) fn new(author: Author) -> Authorizer {
        Authorizer(Arc::new(Mutex::new((author, None))))
    }

    /// Sets whose statements follow.
    pub(super) fn set(&self, author: Author) {
        self.state().0 = author;
    }

    /// Runs a statement of the daemon's own.
    pub(super) fn as_daemon<T>(&self, run: impl FnOnce() -> T) -> T {
        let author = std::mem::replace(&mut self.state().0, Author::Daemon);
        let done = run();
        self.state().0 = author;
        done
    }

    /// Returns the reason of the last refusal, once.
    pub(super) fn take_reason(&self) -> Option<String> {
        self.state().1.take()
    }

    /// Decides about one action, and keeps the reason of a refusal.
    pub(super) fn judge(&self, context: AuthContext<'_>) -> Authorization {
        let mut state = self.state();
        let reason = match state.0 {
            Author::Daemon => None,
            Author::Migration => {
                let is_end = matches!(context.action, AuthAction::Transaction { .. });
                let ends =
                    || "a migration is one transaction: leave BEGIN, COMMIT and ROLLBACK out".to_owned();
                is_end.then(ends).or_else(|| refusal(context))
            }
            Author::Handler => refusal(context),
        };
        match reason {
            None => Authorization::Allow,
            Some(reason) => {
                state.1 = Some(reason);
                Authorization::Deny
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, (Author, Option<String>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns why an action is refused; `None` if it is allowed.
fn refusal(context: AuthContext<'_>) -> Option<String> {
    let temporary =
        || Some("temporary tables are not allowed: use WITH, or a table of the database".to_owned());
    if context.database_name.is_some_and(|name| name.eq_ignore_ascii_case("temp")) {
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
            Some(format!("{MIGRATIONS} is the daemon's: it cannot be changed"))
        }
        _ => None,
    }
}
