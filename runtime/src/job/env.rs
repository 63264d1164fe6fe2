//! The environment of a job: an ordered list of names and values, typed where it is read.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

/// Variables in the order they were set. A name set twice keeps its place and its last value, so
/// that no guest can see two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env(Vec<(Cow<'static, str>, String)>);

/// A variable that cannot be set, or read as what was wanted.
#[derive(Debug, PartialEq, Eq)]
pub struct EnvError {
    name: String,
    value: String,
    wanted: &'static str,
}

impl Env {
    /// Makes an empty environment.
    pub fn new() -> Env {
        Env::default()
    }

    /// Makes an empty environment with room for `variables`.
    pub fn with_capacity(variables: usize) -> Env {
        Env(Vec::with_capacity(variables))
    }

    /// Sets a variable.
    ///
    /// # Errors
    /// The name is empty or holds `=` or NUL, or the value holds NUL: no process could be given it.
    pub fn set(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<String>,
    ) -> Result<(), EnvError> {
        let (name, value) = (name.into(), value.into());
        if name.is_empty() || name.bytes().any(|byte| byte == b'=' || byte == 0) {
            return Err(EnvError { name: name.into_owned(), value, wanted: "a name without `=` and NUL" });
        }
        if value.bytes().any(|byte| byte == 0) {
            return Err(EnvError { name: name.into_owned(), value, wanted: "a value without NUL" });
        }
        self.put(name, value);
        Ok(())
    }

    /// Sets what is known to be a sound variable.
    fn put(&mut self, name: Cow<'static, str>, value: String) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// Sets every variable of `other`, in its order.
    pub fn extend(&mut self, other: &Env) {
        for (name, value) in &other.0 {
            self.put(name.clone(), value.clone());
        }
    }

    /// Returns the value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Reads a truth value: false is what Docker read as false (empty, `0`, `no`, `false`, `none`);
    /// a variable that is not set is false.
    pub fn bool(&self, name: &str) -> bool {
        let falsehoods = ["", "0", "no", "false", "none"];
        self.get(name).is_some_and(|value| {
            let value = value.trim();
            !falsehoods.iter().any(|falsehood| value.eq_ignore_ascii_case(falsehood))
        })
    }

    /// Reads a whole number; none: not set.
    ///
    /// # Errors
    /// The value is not a whole number of 64 bits. (Docker read 0 then.)
    pub fn int(&self, name: &str) -> Result<Option<i64>, EnvError> {
        let read = |value: &str| {
            value.trim().parse().map_err(|_| EnvError {
                name: name.to_owned(),
                value: value.to_owned(),
                wanted: "a whole number",
            })
        };
        self.get(name).map(read).transpose()
    }

    /// Reads a list: a JSON array of strings, or one plain value; not set or empty: no values.
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            None | Some("") => Vec::new(),
            Some(value) => serde_json::from_str(value).unwrap_or_else(|_| vec![value.to_owned()]),
        }
    }

    /// Reads a JSON value; none: not set or empty.
    ///
    /// # Errors
    /// The value is not JSON.
    pub fn json(&self, name: &str) -> Result<Option<Value>, EnvError> {
        let read = |value: &str| {
            serde_json::from_str(value).map_err(|_| EnvError {
                name: name.to_owned(),
                value: value.to_owned(),
                wanted: "a JSON value",
            })
        };
        self.get(name).filter(|value| !value.is_empty()).map(read).transpose()
    }

    /// Goes through the variables in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_str()))
    }

    /// Returns how many variables there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Reports whether there are no variables.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a JSON object: strings as they are, everything else as its JSON text, so that `true`
    /// stays `true` and an integer keeps every digit.
    ///
    /// # Errors
    /// A name or value that no environment can hold.
    pub fn from_json(object: &Map<String, Value>) -> Result<Env, EnvError> {
        let mut env = Env::with_capacity(object.len());
        for (name, value) in object {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            env.set(name.clone(), text)?;
        }
        Ok(env)
    }

    /// Writes a JSON object. Booleans, `null`, integers, arrays and objects become JSON of that
    /// kind; everything else is a string. A number with a fraction or exponent stays a string: a
    /// version such as "1.14" is no number.
    pub fn to_json(&self) -> Map<String, Value> {
        let typed = |text: &str| match serde_json::from_str::<Value>(text) {
            Ok(Value::Number(number)) if number.is_f64() => Value::String(text.to_owned()),
            Ok(value @ (Value::Array(_) | Value::Object(_))) => value,
            // ` 7 ` reads as 7: only a text without such padding is a value.
            Ok(value @ (Value::Bool(_) | Value::Null | Value::Number(_))) if text.trim() == text => value,
            _ => Value::String(text.to_owned()),
        };
        self.iter().map(|(name, value)| (name.to_owned(), typed(value))).collect()
    }
}

impl fmt::Display for EnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value: String = self.value.chars().take(64).collect();
        write!(f, "{}={:?}: wanted {}", self.name.escape_debug(), value, self.wanted)
    }
}

impl std::error::Error for EnvError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_value_wins_and_no_name_stands_twice() {
        let mut env = Env::new();
        for (name, value) in [("A", "1"), ("B", "2"), ("A", "3")] {
            env.set(name, value).unwrap();
        }
        assert_eq!(env.iter().collect::<Vec<_>>(), [("A", "3"), ("B", "2")]);
    }

    #[test]
    fn what_no_process_could_be_given_is_refused() {
        let mut env = Env::new();
        for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0y")] {
            assert!(env.set(name, value).is_err(), "{name:?}={value:?} must be refused");
        }
        assert!(env.is_empty());
    }

    #[test]
    fn typed_reads_fail_instead_of_reading_zero() {
        let mut env = Env::new();
        for (name, value) in
            [("N", " 42 "), ("T", "True"), ("F", " None "), ("L", r#"["a","b"]"#), ("X", "4x")]
        {
            env.set(name, value).unwrap();
        }
        assert_eq!(env.int("N"), Ok(Some(42)));
        assert_eq!(env.int("missing"), Ok(None));
        assert_eq!(env.int("X").unwrap_err().to_string(), r#"X="4x": wanted a whole number"#);
        assert!(env.bool("T") && env.bool("X") && !env.bool("F") && !env.bool("missing"));
        assert_eq!(env.list("L"), ["a", "b"]);
        assert_eq!(env.list("X"), ["4x"]);
        assert!(env.list("missing").is_empty());
        assert!(env.json("X").is_err());
    }

    #[test]
    fn json_keeps_booleans_large_integers_and_versions() {
        let text =
            r#"{"on":true,"big":18446744073709551615,"version":"1.14","list":["a"],"none":null,"pad":"007"}"#;
        let object: Map<String, Value> = serde_json::from_str(text).unwrap();

        let env = Env::from_json(&object).unwrap();

        assert_eq!(env.get("on"), Some("true"));
        assert_eq!(env.get("version"), Some("1.14"));
        assert_eq!(serde_json::to_string(&env.to_json()).unwrap(), text);
    }

    proptest! {
        #[test]
        fn an_environment_survives_json(pairs in prop::collection::vec(("[A-Z_]{1,8}", "[^\0]{0,16}"), 0..8)) {
            let mut env = Env::new();
            for (name, value) in pairs {
                env.set(name, value).unwrap();
            }
            let back = Env::from_json(&env.to_json()).unwrap();
            for ((name, value), (back_name, back_value)) in env.iter().zip(back.iter()) {
                prop_assert_eq!(name, back_name);
                // JSON may be written otherwise, but means the same.
                let (before, after) = (serde_json::from_str::<Value>(value), serde_json::from_str::<Value>(back_value));
                prop_assert!(value == back_value || before.unwrap() == after.unwrap());
            }
        }
    }
}
