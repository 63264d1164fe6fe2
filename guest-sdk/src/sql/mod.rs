//! SQL databases, which a handler is granted by `databases` in its table.
//!
//! ```no_run
//! use portcullis_guest::{Error, Request, Response, sql};
//!
//! fn rename(request: &Request) -> Result<Response, Error> {
//!     let users = sql::open("main")?;
//!     let id: i64 = request.capture("id").and_then(|id| id.parse().ok()).unwrap_or_default();
//!     let found = users.query("select name from users where id = $1", (id,))?.first();
//!     let Some(row) = found else { return Ok(Response::not_found()) };
//!     let name: String = row.get("name")?;
//!     users.transaction(|t| {
//!         t.execute("update users set name = $2 where id = $1", (id, name.to_uppercase()))?;
//!         t.execute("insert into renamed (id, was) values ($1, $2)", (id, &name))
//!     })?;
//!     Ok(Response::text(name))
//! }
//! ```
//!
//! What a statement changed is kept when it returns, and what a transaction changed when [`Database::transaction`]
//! returns. However this process ends, a transaction that it has open is rolled back, and holds no lock.
//!
//! On wasm32-wasip1 databases are always available. Outside of the daemon they are with the feature `sqlite`: each
//! thread has databases of its own, in memory, so a test starts with empty ones.

mod error;
mod row;
mod sys;
mod value;

pub use error::{SqlError, SqlErrorKind};
pub use row::{FromRow, Row, Rows};
pub use value::{FromValue, Params, Value};

use std::cell::Cell;

use self::sys::Handle;

/// How often [`Database::transaction`] begins again if another transaction came first.
const TRIES: usize = 8;

/// Opens a database by the name that `handler.NAME.databases` has for it.
///
/// # Errors
/// The database is not granted.
pub fn open(name: &str) -> Result<Database, SqlError> {
    Handle::open(name).map(Database)
}

/// A database.
#[derive(Debug)]
pub struct Database(Handle);

/// An open transaction.
#[derive(Debug)]
pub struct Transaction<'d> {
    database: &'d Database,
    /// Whether another transaction came first.
    is_late: Cell<bool>,
}

impl Database {
    /// Runs a statement that returns rows. Parameters are `$1`, `$2` and so on, or `?` in their order.
    ///
    /// # Errors
    /// The statement is wrong or fails, or returns more than 10,000 rows or 8 MiB.
    pub fn query(&self, sql: &str, params: impl Params) -> Result<Rows, SqlError> {
        self.0.run(sql, &params.into_values()).map(|(rows, _)| rows)
    }

    /// Runs a statement, and returns how many rows it inserted, updated or deleted.
    ///
    /// # Errors
    /// The statement is wrong or fails.
    pub fn execute(&self, sql: &str, params: impl Params) -> Result<u64, SqlError> {
        self.0.run(sql, &params.into_values()).map(|(_, changed)| changed)
    }

    /// Runs `work` in a transaction: all of it is kept if it returns `Ok`, and nothing if it returns `Err`. If another
    /// transaction came first, `work` is called again, up to eight times in all.
    ///
    /// # Errors
    /// What `work` returns; or the transaction cannot be begun or kept.
    pub fn transaction<T, E: From<SqlError>>(
        &self,
        mut work: impl FnMut(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut tries = 1;
        loop {
            self.0.begin()?;
            let transaction = Transaction { database: self, is_late: Cell::new(false) };
            let outcome = work(&transaction).and_then(|done| {
                transaction.noted(self.0.commit())?;
                Ok(done)
            });
            let Err(error) = outcome else { return outcome };
            // Fails if the daemon has rolled it back already.
            let _ended = self.0.rollback();
            if !transaction.is_late.get() || tries == TRIES {
                return Err(error);
            }
            tries += 1;
        }
    }
}

impl Transaction<'_> {
    /// Runs a statement that returns rows.
    ///
    /// # Errors
    /// As [`Database::query`].
    pub fn query(&self, sql: &str, params: impl Params) -> Result<Rows, SqlError> {
        self.noted(self.database.query(sql, params))
    }

    /// Runs a statement, and returns how many rows it inserted, updated or deleted.
    ///
    /// # Errors
    /// As [`Database::execute`].
    pub fn execute(&self, sql: &str, params: impl Params) -> Result<u64, SqlError> {
        self.noted(self.database.execute(sql, params))
    }

    /// Keeps in mind that another transaction came first: the error of the caller may not say so any more.
    fn noted<T>(&self, outcome: Result<T, SqlError>) -> Result<T, SqlError> {
        if outcome.as_ref().is_err_and(|error| error.kind() == SqlErrorKind::Conflict) {
            self.is_late.set(true);
        }
        outcome
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests;
