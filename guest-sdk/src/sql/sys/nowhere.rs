//! The implementation for components, which have no databases yet, and for tests without the feature `sqlite`.

use crate::sql::{Rows, SqlError, SqlErrorKind, Value};

/// What to do about it.
const ADVICE: &str = match cfg!(target_os = "wasi") {
    true => "build for wasm32-wasip1 to use databases",
    false => {
        "outside of the daemon, databases need the feature \"sqlite\" of portcullis-guest, as a dev-dependency"
    }
};

/// A database that cannot exist.
#[derive(Debug)]
pub(in crate::sql) enum Handle {}

impl Handle {
    pub(in crate::sql) fn open(name: &str) -> Result<Handle, SqlError> {
        // Names what the other implementations make.
        let _unused = Rows::new;
        Err(SqlError::new(SqlErrorKind::Unavailable, format!("database {name}: {ADVICE}")))
    }

    pub(in crate::sql) fn run(&self, _: &str, _: &[Value]) -> Result<(Rows, u64), SqlError> {
        match *self {}
    }

    pub(in crate::sql) fn begin(&self) -> Result<(), SqlError> {
        match *self {}
    }

    pub(in crate::sql) fn commit(&self) -> Result<(), SqlError> {
        match *self {}
    }

    pub(in crate::sql) fn rollback(&self) -> Result<(), SqlError> {
        match *self {}
    }
}
