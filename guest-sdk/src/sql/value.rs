//! The values of parameters and rows.

use super::error::{SqlError, SqlErrorKind};

/// A value in a statement or a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// A whole number; truth values are 0 and 1.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// The values of a statement's parameters: a tuple such as `(7, "milk")`, a list of values, or `()`.
pub trait Params {
    /// Returns the values in the order of the parameters.
    fn into_values(self) -> Vec<Value>;
}

impl Params for () {
    fn into_values(self) -> Vec<Value> {
        Vec::new()
    }
}

impl Params for Vec<Value> {
    fn into_values(self) -> Vec<Value> {
        self
    }
}

impl<const N: usize> Params for [Value; N] {
    fn into_values(self) -> Vec<Value> {
        self.into()
    }
}

/// Implements [`Params`] for tuples.
macro_rules! tuple {
    ($($name:ident)+) => {
        impl<$($name: Into<Value>),+> Params for ($($name,)+) {
            #[allow(non_snake_case, reason = "the names of the types name their values")]
            fn into_values(self) -> Vec<Value> {
                let ($($name,)+) = self;
                vec![$($name.into()),+]
            }
        }
    };
}

tuple!(A);
tuple!(A B);
tuple!(A B C);
tuple!(A B C D);
tuple!(A B C D E);
tuple!(A B C D E F);
tuple!(A B C D E F G);
tuple!(A B C D E F G H);
tuple!(A B C D E F G H I);
tuple!(A B C D E F G H I J);
tuple!(A B C D E F G H I J K);
tuple!(A B C D E F G H I J K L);

/// Implements `From` for types that fit into a variant.
macro_rules! from {
    ($($kind:ty => $variant:ident,)+) => {
        $(impl From<$kind> for Value {
            fn from(value: $kind) -> Value {
                Value::$variant(value.into())
            }
        })+
    };
}

from! {
    i64 => Integer,
    i32 => Integer,
    u32 => Integer,
    i16 => Integer,
    u16 => Integer,
    u8 => Integer,
    bool => Integer,
    f64 => Real,
    f32 => Real,
    String => Text,
    &str => Text,
    Vec<u8> => Blob,
    &[u8] => Blob,
}

impl From<&String> for Value {
    fn from(text: &String) -> Value {
        Value::Text(text.clone())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// A type that a value of a row can become.
pub trait FromValue: Sized {
    /// Converts a value.
    ///
    /// # Errors
    /// The value is of another type, or does not fit. The text says which type was wanted.
    fn from_value(value: Value) -> Result<Self, SqlError>;
}

fn wrong<T>(wanted: &str, found: &Value) -> Result<T, SqlError> {
    let found = match found {
        Value::Null => "NULL, for which Option is a type".to_owned(),
        Value::Integer(number) => format!("the integer {number}"),
        Value::Real(number) => format!("the number {number}"),
        Value::Text(_) => "a text".to_owned(),
        Value::Blob(_) => "a blob".to_owned(),
    };
    Err(SqlError::new(SqlErrorKind::Row, format!("wanted {wanted}, found {found}")))
}

/// Implements [`FromValue`] for integers.
macro_rules! integer {
    ($($kind:ty),+) => {
        $(impl FromValue for $kind {
            fn from_value(value: Value) -> Result<$kind, SqlError> {
                match &value {
                    Value::Integer(number) => {
                        <$kind>::try_from(*number).or_else(|_| wrong(stringify!($kind), &value))
                    }
                    _ => wrong("an integer", &value),
                }
            }
        })+
    };
}

integer!(i64, i32, i16, u64, u32, u16, u8, usize);

impl FromValue for bool {
    fn from_value(value: Value) -> Result<bool, SqlError> {
        match value {
            Value::Integer(0) => Ok(false),
            Value::Integer(1) => Ok(true),
            other => wrong("0 or 1", &other),
        }
    }
}

impl FromValue for f64 {
    #[allow(clippy::cast_precision_loss, reason = "SQL compares integers and reals in the same way")]
    fn from_value(value: Value) -> Result<f64, SqlError> {
        match value {
            Value::Real(number) => Ok(number),
            Value::Integer(number) => Ok(number as f64),
            other => wrong("a number", &other),
        }
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Result<String, SqlError> {
        match value {
            Value::Text(text) => Ok(text),
            other => wrong("a text", &other),
        }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: Value) -> Result<Vec<u8>, SqlError> {
        match value {
            Value::Blob(bytes) => Ok(bytes),
            other => wrong("a blob", &other),
        }
    }
}

impl FromValue for Value {
    fn from_value(value: Value) -> Result<Value, SqlError> {
        Ok(value)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Result<Option<T>, SqlError> {
        match value {
            Value::Null => Ok(None),
            value => T::from_value(value).map(Some),
        }
    }
}
