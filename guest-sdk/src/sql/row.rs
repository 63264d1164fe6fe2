//! The rows of a result.

use std::rc::Rc;

use super::error::{SqlError, SqlErrorKind};
use super::value::{FromValue, Value};

/// The rows that a query returned, in their order. They are in memory.
#[derive(Clone, Debug)]
pub struct Rows {
    columns: Rc<[String]>,
    values: std::vec::IntoIter<Value>,
}

/// A row: its values by the names of their columns.
#[derive(Clone, Debug)]
pub struct Row {
    columns: Rc<[String]>,
    values: Vec<Value>,
}

impl Rows {
    pub(super) fn new(columns: Vec<String>, values: Vec<Value>) -> Rows {
        Rows { columns: columns.into(), values: values.into_iter() }
    }

    /// Returns the names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Returns the first row; `None` if there is no row.
    pub fn first(mut self) -> Option<Row> {
        self.next()
    }

    /// Converts each row to a tuple, such as `(u64, String)`, or to a single value.
    ///
    /// # Errors
    /// A value has another type, or the rows have another number of columns.
    pub fn all<T: FromRow>(self) -> Result<Vec<T>, SqlError> {
        self.map(T::from_row).collect()
    }
}

impl Iterator for Rows {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let width = self.columns.len();
        if width == 0 || self.values.len() < width {
            return None;
        }
        let values = self.values.by_ref().take(width).collect();
        Some(Row { columns: self.columns.clone(), values })
    }
}

impl Row {
    /// Returns the value of a column.
    ///
    /// # Errors
    /// There is no such column, or its value has another type.
    pub fn get<T: FromValue>(&self, column: &str) -> Result<T, SqlError> {
        let place = self.columns.iter().position(|name| name == column);
        let value = place.and_then(|place| self.values.get(place)).ok_or_else(|| {
            let columns = self.columns.join(", ");
            SqlError::new(
                SqlErrorKind::Row,
                format!("there is no column {column:?}: the result has {columns}"),
            )
        })?;
        T::from_value(value.clone())
            .map_err(|error| SqlError::new(SqlErrorKind::Row, format!("column {column:?}: {error}")))
    }

    /// Returns the values in the order of the columns.
    pub fn into_values(self) -> Vec<Value> {
        self.values
    }
}

/// A type that a row can become: a tuple of values, or a value if the row has one.
pub trait FromRow: Sized {
    /// Converts a row.
    ///
    /// # Errors
    /// A value has another type, or the row has another number of columns.
    fn from_row(row: Row) -> Result<Self, SqlError>;
}

impl<T: FromValue> FromRow for T {
    fn from_row(row: Row) -> Result<T, SqlError> {
        let (value,) = FromRow::from_row(row)?;
        Ok(value)
    }
}

/// Implements [`FromRow`] for tuples.
macro_rules! tuple {
    ($width:literal $($name:ident)+) => {
        impl<$($name: FromValue),+> FromRow for ($($name,)+) {
            fn from_row(row: Row) -> Result<($($name,)+), SqlError> {
                let found = row.values.len();
                if found != $width {
                    let message = format!("wanted {} columns, found {found}", $width);
                    return Err(SqlError::new(SqlErrorKind::Row, message));
                }
                let mut values = row.values.into_iter();
                let mut next = || values.next().unwrap_or(Value::Null);
                Ok(($($name::from_value(next())?,)+))
            }
        }
    };
}

tuple!(1 A);
tuple!(2 A B);
tuple!(3 A B C);
tuple!(4 A B C D);
tuple!(5 A B C D E);
tuple!(6 A B C D E F);
tuple!(7 A B C D E F G);
tuple!(8 A B C D E F G H);
