//! SQL databases that handlers are granted: an SQLite file or a PostgreSQL server, a connection of its own for each job.
//!
//! Floors, lowest first: `syntax`; `error`, `literal`, `value`; `limits`; `caller`, `turns`, `migrations`; the back ends
//! `sqlite` and `postgres`; `counts`, `health`, `url`; `backend`; `shared`; `session`, which a job has.
//!
//! | situation | holds on every back end |
//! |---|---|
//! | a statement outside of a transaction | whole or not at all; durable before it returns |
//! | a transaction | on a connection that no other job uses until it ends |
//! | a job that ends, however it ends | its open transaction is rolled back, and its statement is stopped |
//! | a connection that returns | has no transaction, no temporary table, no prepared statement and no setting of the job |

mod backend;
mod caller;
mod counts;
mod error;
mod health;
mod limits;
pub mod literal;
mod migrations;
#[cfg(feature = "postgres")]
mod postgres;
mod session;
mod shared;
mod sqlite;
mod syntax;
#[cfg(test)]
mod tests;
mod turns;
mod url;
mod value;

pub use self::caller::SqlCaller;
pub use self::counts::{SQL_OPERATIONS, SqlCounts};
pub use self::error::SqlError;
pub use self::limits::{MAX_MIGRATION, MAX_PARAMETER_BYTES, MAX_PARAMETERS, MAX_SQL};
pub use self::migrations::Migration;
pub use self::session::DatabaseSession;
pub use self::shared::{DatabaseCa, DatabaseGrant, DatabaseOptions, DatabasePool, SharedDatabase};
pub use self::sqlite::wait_until_closed;
pub use self::url::{DatabaseUrl, DatabaseUrlError};
pub use self::value::{SqlCommand, SqlResult, SqlValue};
