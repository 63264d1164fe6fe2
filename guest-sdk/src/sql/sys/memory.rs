//! Databases in memory, for tests of handlers: one of each name in every thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Error, ErrorCode};

use crate::sql::{Rows, SqlError, SqlErrorKind, Value};

thread_local! {
    static DATABASES: RefCell<HashMap<String, Rc<Connection>>> = RefCell::default();
}

/// A database in memory.
#[derive(Debug)]
pub(in crate::sql) struct Handle(Rc<Connection>);

impl Handle {
    pub(in crate::sql) fn open(name: &str) -> Result<Handle, SqlError> {
        DATABASES.with_borrow_mut(|databases| {
            if let Some(known) = databases.get(name) {
                return Ok(Handle(known.clone()));
            }
            let connection = Rc::new(Connection::open_in_memory().map_err(|error| failure(&error))?);
            databases.insert(name.to_owned(), connection.clone());
            Ok(Handle(connection))
        })
    }

    pub(in crate::sql) fn run(&self, sql: &str, parameters: &[Value]) -> Result<(Rows, u64), SqlError> {
        self.execute(sql, parameters).map_err(|error| failure(&error))
    }

    fn execute(&self, sql: &str, parameters: &[Value]) -> Result<(Rows, u64), Error> {
        let before = self.0.total_changes();
        let mut statement = self.0.prepare(sql)?;
        let mut wanted = 0;
        for place in 1..=statement.parameter_count() {
            let name = statement.parameter_name(place);
            let number = name.map_or(Some(place), |name| name.strip_prefix(['$', '?'])?.parse().ok());
            let number: usize = number.filter(|number| *number > 0).ok_or(Error::InvalidQuery)?;
            wanted = wanted.max(number);
            if let Some(value) = parameters.get(number - 1) {
                statement.raw_bind_parameter(place, ToSqlOutput::Borrowed(borrowed(value)))?;
            }
        }
        if wanted != parameters.len() {
            return Err(Error::InvalidParameterCount(parameters.len(), wanted));
        }
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let width = columns.len();
        let mut values = Vec::new();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            for place in 0..width {
                values.push(match row.get_ref(place)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(number) => Value::Integer(number),
                    ValueRef::Real(number) => Value::Real(number),
                    ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
                    ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
                });
            }
        }
        drop(rows);
        let changed = if self.0.total_changes() == before { 0 } else { self.0.changes() };
        Ok((Rows::new(columns, values), changed))
    }

    pub(in crate::sql) fn begin(&self) -> Result<(), SqlError> {
        self.run("BEGIN IMMEDIATE", &[]).map(drop)
    }

    pub(in crate::sql) fn commit(&self) -> Result<(), SqlError> {
        self.run("COMMIT", &[]).map(drop)
    }

    pub(in crate::sql) fn rollback(&self) -> Result<(), SqlError> {
        self.run("ROLLBACK", &[]).map(drop)
    }
}

fn borrowed(value: &Value) -> ValueRef<'_> {
    match value {
        Value::Null => ValueRef::Null,
        Value::Integer(number) => ValueRef::Integer(*number),
        Value::Real(number) => ValueRef::Real(*number),
        Value::Text(text) => ValueRef::Text(text.as_bytes()),
        Value::Blob(bytes) => ValueRef::Blob(bytes),
    }
}

fn failure(error: &Error) -> SqlError {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => SqlErrorKind::Constraint,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => SqlErrorKind::Conflict,
        Some(ErrorCode::TooBig) => SqlErrorKind::TooLarge,
        _ => SqlErrorKind::Invalid,
    };
    SqlError::new(kind, error.to_string())
}
