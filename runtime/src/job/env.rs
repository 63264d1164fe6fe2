//! The environment of a job: an ordered list of names and values, converted when it is read.

use std::collections::HashMap;
use std::fmt;

use serde_json::{Map, Value};

/// Variables in the order they were set. A name that is set twice keeps its position and its last
/// value, so no guest sees it twice.
///
/// All variables are stored in one text, in the form a process gets them: `NAME=VALUE` and a NUL. A
/// request has some twenty, and two allocations are cheaper than forty.
#[derive(Clone, Default)]
pub struct Env {
    text: String,
    variables: Vec<Variable>,
    /// The position of each name, once there are many variables. For the few of a request, a linear
    /// search is faster.
    places: Option<HashMap<Box<str>, usize>>,
}

/// The position of one variable in the text.
#[derive(Clone, Copy)]
pub(super) struct Variable {
    pub(super) start: usize,
    /// Offset of its `=`.
    pub(super) equals: usize,
    /// Offset of its NUL.
    pub(super) end: usize,
}

/// A variable that cannot be set, or cannot be read as the wanted type.
#[derive(Debug, PartialEq, Eq)]
pub struct EnvError {
    name: String,
    value: String,
    wanted: &'static str,
}

/// The typical size of a variable in bytes.
const USUAL: usize = 40;

/// The most variables that are searched linearly.
const FEW: usize = 32;

impl Env {
    /// Makes an empty environment.
    pub fn new() -> Env {
        Env::default()
    }

    /// Makes an empty environment with room for `variables`.
    pub fn with_capacity(variables: usize) -> Env {
        Env {
            text: String::with_capacity(variables * USUAL),
            variables: Vec::with_capacity(variables),
            places: None,
        }
    }

    /// Makes an environment of this text and these variables, whose names are distinct and whose values contain no NUL.
    pub(super) fn written(text: String, variables: Vec<Variable>) -> Env {
        Env { text, variables, places: None }
    }

    /// Sets a variable.
    ///
    /// # Errors
    /// The name is empty or contains `=` or NUL, or the value contains NUL: no process could have it.
    pub fn set(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Result<(), EnvError> {
        let (name, value) = (name.as_ref(), value.as_ref());
        if name.is_empty() || name.bytes().any(|byte| byte == b'=' || byte == 0) {
            return Err(EnvError::new(name, value, "a name without `=` and NUL"));
        }
        if self.variables.len() > FEW && self.places.is_none() {
            self.places = Some(self.iter().map(|(name, _)| name.into()).zip(0..).collect());
        }
        let variable = self.write(name, value)?;
        match self.position(name) {
            // The old value stays in the text, but nothing refers to it any more.
            Some(position) => self.variables[position] = variable,
            None => {
                if let Some(places) = &mut self.places {
                    places.insert(name.into(), self.variables.len());
                }
                self.variables.push(variable);
            }
        }
        Ok(())
    }

    /// Finds the position of a variable.
    fn position(&self, name: &str) -> Option<usize> {
        match &self.places {
            Some(places) => places.get(name).copied(),
            None => self.variables.iter().position(|known| self.name(*known) == name),
        }
    }

    /// Appends a variable to the text.
    fn write(&mut self, name: &str, value: &str) -> Result<Variable, EnvError> {
        if memchr::memchr(0, value.as_bytes()).is_some() {
            return Err(EnvError::new(name, value, "a value without NUL"));
        }
        let start = self.text.len();
        self.text.push_str(name);
        self.text.push('=');
        self.text.push_str(value);
        self.text.push('\0');
        Ok(Variable { start, equals: start + name.len(), end: self.text.len() - 1 })
    }

    fn name(&self, Variable { start, equals, .. }: Variable) -> &str {
        &self.text[start..equals]
    }

    fn value(&self, Variable { equals, end, .. }: Variable) -> &str {
        &self.text[equals + 1..end]
    }

    /// Sets every variable of `other`, in its order. Names that are set already keep their position.
    ///
    /// The text is copied as a whole: a handler may set thousands of variables for each request. Most handlers set none,
    /// and nothing is searched.
    pub fn extend(&mut self, other: &Env) {
        if other.is_empty() {
            return;
        }
        let by = self.text.len();
        self.text.push_str(&other.text);
        let mut replaced = Vec::new();
        for place in 0..self.variables.len() {
            if let Some(position) = other.position(self.name(self.variables[place])) {
                self.variables[place] = other.variables[position].moved(by);
                replaced.push(position);
            }
        }
        replaced.sort_unstable();
        let mut replaced = replaced.into_iter().peekable();
        let fresh = (0..).zip(&other.variables);
        let fresh = fresh.filter(|(position, _)| replaced.next_if_eq(position).is_none());
        self.variables.extend(fresh.map(|(_, variable)| variable.moved(by)));
        self.places = None;
    }

    /// Returns the value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.position(name).map(|position| self.value(self.variables[position]))
    }

    /// Reads a truth value. As in Docker, empty, `0`, `no`, `false` and `none` are false. A variable
    /// that is not set is false, too.
    pub fn bool(&self, name: &str) -> bool {
        let falsehoods = ["", "0", "no", "false", "none"];
        self.get(name).is_some_and(|value| {
            let value = value.trim();
            !falsehoods.iter().any(|falsehood| value.eq_ignore_ascii_case(falsehood))
        })
    }

    /// Reads a whole number. Returns `None` if it is not set.
    ///
    /// # Errors
    /// The value is not a whole number of 64 bits. (Docker returned 0 for such a value.)
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

    /// Reads a list: a JSON array of strings, or one plain value. Empty if not set or empty.
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            None | Some("") => Vec::new(),
            Some(value) => serde_json::from_str(value).unwrap_or_else(|_| vec![value.to_owned()]),
        }
    }

    /// Reads a JSON value. Returns `None` if it is not set or empty.
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

    /// Iterates over the variables in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.variables.iter().map(|variable| (self.name(*variable), self.value(*variable)))
    }

    /// Iterates over the variables in order, in the form a process gets them: `NAME=VALUE` and a NUL.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let bytes = self.text.as_bytes();
        self.variables.iter().map(|variable| &bytes[variable.start..=variable.end])
    }

    /// Returns how many variables there are.
    pub fn len(&self) -> usize {
        self.variables.len()
    }

    /// Reports whether there are no variables.
    pub fn is_empty(&self) -> bool {
        self.variables.is_empty()
    }

    /// Reads a JSON object. Strings are taken as they are, everything else as its JSON text, so `true`
    /// stays `true` and an integer keeps every digit.
    ///
    /// # Errors
    /// A name or value that is not valid in an environment.
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

    /// Writes a JSON object. Booleans, `null`, integers, arrays and objects become JSON values of that
    /// type; everything else is a string. A number with a fraction or exponent stays a string, because
    /// a version such as "1.14" is not a number.
    pub fn to_json(&self) -> Map<String, Value> {
        let typed = |text: &str| match serde_json::from_str::<Value>(text) {
            Ok(Value::Number(number)) if number.is_f64() => Value::String(text.to_owned()),
            Ok(value @ (Value::Array(_) | Value::Object(_))) => value,
            // ` 7 ` parses as 7, but only a text without such padding is typed.
            Ok(value @ (Value::Bool(_) | Value::Null | Value::Number(_))) if text.trim() == text => value,
            _ => Value::String(text.to_owned()),
        };
        self.iter().map(|(name, value)| (name.to_owned(), typed(value))).collect()
    }
}

impl Variable {
    /// Returns the variable for a text that starts `by` bytes later.
    fn moved(self, by: usize) -> Variable {
        Variable { start: self.start + by, equals: self.equals + by, end: self.end + by }
    }
}

impl PartialEq for Env {
    fn eq(&self, other: &Env) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Env {}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl EnvError {
    fn new(name: &str, value: &str, wanted: &'static str) -> EnvError {
        EnvError { name: name.to_owned(), value: value.to_owned(), wanted }
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
        assert_eq!(env.entries().collect::<Vec<_>>(), [b"A=3\0", b"B=2\0"]);
    }

    #[test]
    fn a_great_many_variables_cost_a_request_no_more_than_their_copy() {
        let cost = |variables: usize, requests: usize| {
            let mut configured = Env::new();
            (0..variables).for_each(|number| configured.set(format!("NAME_{number}"), "value").unwrap());
            configured.set("NAME_7", "last").unwrap();
            let before = crate::observe::threads::thread_time();
            for _ in 0..requests {
                let mut env = Env::new();
                env.set("NAME_99", "of the request").unwrap();
                env.extend(&configured);
                env.set("NAME_100", "set later").unwrap();
                assert_eq!((env.len(), env.get("NAME_7")), (variables, Some("last")));
            }
            crate::observe::threads::thread_time() - before
        };
        // The same number of variables in all. A linear search for each of them would take 50 times as long.
        let (few, many) = (cost(1_000, 500), cost(50_000, 10));
        assert!(many < 10 * few, "{many:?}, of few {few:?}");
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
        fn an_environment_takes_another_as_if_each_were_set(
            one in prop::collection::vec(("[A-F]{1,2}", "[a-z]{0,3}"), 0..60),
            other in prop::collection::vec(("[A-F]{1,2}", "[a-z]{0,3}"), 0..60),
        ) {
            let of = |pairs: &[(String, String)]| {
                let mut env = Env::new();
                pairs.iter().for_each(|(name, value)| env.set(name, value).unwrap());
                env
            };
            let mut taken = of(&one);
            taken.extend(&of(&other));
            taken.set("A", "later").unwrap();
            prop_assert_eq!(taken, of(&[one, other, vec![("A".to_owned(), "later".to_owned())]].concat()));
        }

        #[test]
        fn an_environment_survives_json(pairs in prop::collection::vec(("[A-Z_]{1,8}", "[^\0]{0,16}"), 0..8)) {
            let mut env = Env::new();
            for (name, value) in pairs {
                env.set(name, value).unwrap();
            }
            let back = Env::from_json(&env.to_json()).unwrap();
            for ((name, value), (back_name, back_value)) in env.iter().zip(back.iter()) {
                prop_assert_eq!(name, back_name);
                // The JSON text may differ, but must mean the same.
                let (before, after) = (serde_json::from_str::<Value>(value), serde_json::from_str::<Value>(back_value));
                prop_assert!(value == back_value || before.unwrap() == after.unwrap());
            }
        }
    }
}
