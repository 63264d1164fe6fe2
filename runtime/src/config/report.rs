//! Collects every mistake of a configuration, with its line and key.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::shape::Shape;
use crate::operator_file::ReadError;

/// One mistake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The line, counted from 1; 0 means the file as a whole.
    pub line: usize,
    /// The full key: `handler.hello.limits.memory`. May be empty.
    pub key: String,
    /// What was wanted, what was found and what to write.
    pub message: String,
}

/// Every mistake in a file, in the order of its lines; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigErrors {
    /// The file, as it was asked for.
    pub file: String,
    /// The mistakes.
    pub errors: Vec<ConfigError>,
}

/// Collects mistakes while a text is read, and maps offsets to lines.
pub(super) struct Diagnostics<'t> {
    /// The name of the file in errors.
    file: &'t str,
    text: &'t str,
    /// The keys of all tables.
    shape: &'static Shape,
    /// Where each line ends.
    line_ends: Vec<usize>,
    errors: RefCell<Vec<ConfigError>>,
    /// Hashes of the reported keys and of all their prefixes. A file may have 100,000 mistakes, and
    /// each key checks what was reported before.
    blamed: RefCell<HashSet<u64>>,
    digest: RandomState,
    /// The files and directories that the text names, whether they exist or not.
    named: RefCell<Vec<PathBuf>>,
}

impl ConfigErrors {
    /// Makes the error for a file that cannot be read.
    pub(super) fn unreadable(file: String, refusal: &ReadError) -> ConfigErrors {
        let advice = match refusal {
            ReadError::Unreadable(error) if error.kind() == ErrorKind::NotFound => {
                "; `portcullis new NAME` creates one"
            }
            _ => "",
        };
        let message = format!("the configuration cannot be read: {refusal}{advice}");
        ConfigErrors { file, errors: vec![ConfigError { line: 0, key: String::new(), message }] }
    }
}

/// One mistake a line: `portcullis.toml:12: handler.hello.module: ...`.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.errors.iter().enumerate() {
            let newline = if position == 0 { "" } else { "\n" };
            write!(f, "{newline}{}:{error}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// `12: handler.hello.module: ...`, to follow the name of the file.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.message)
    }
}

impl<'t> Diagnostics<'t> {
    pub(super) fn new(text: &'t str, file: &'t str, shape: &'static Shape) -> Diagnostics<'t> {
        let line_ends = text.match_indices('\n').map(|(end, _)| end).collect();
        let (errors, blamed, digest, named) = Default::default();
        Diagnostics { file, text, shape, line_ends, errors, blamed, digest, named }
    }

    /// Returns the name of the file in errors.
    pub(super) fn file(&self) -> &str {
        self.file
    }

    /// Says where a key belongs that the table `here` does not have, or returns `None` if no table has it.
    pub(super) fn advice(&self, name: &str, here: &Shape) -> Option<String> {
        self.shape.advice(name, here)
    }

    /// Adds a mistake.
    pub(super) fn add(&self, line: usize, key: &str, message: impl Into<String>) {
        let error = ConfigError { line, key: key.to_owned(), message: message.into() };
        self.errors.borrow_mut().push(error);
        let (mut hasher, mut from) = (self.digest.build_hasher(), 0);
        let ends = key.match_indices(['.', '[']).map(|(end, _)| end).chain([key.len()]);
        let mut blamed = self.blamed.borrow_mut();
        for end in ends {
            hasher.write(&key.as_bytes()[from..end]);
            blamed.insert(hasher.finish());
            from = end;
        }
    }

    /// Reports a missing key, unless an error in its value was reported already.
    pub(super) fn missing(&self, line: usize, table: &str, name: &str, advice: &str) {
        if !self.blames(&format!("{table}.{name}")) {
            self.add(line, table, format!("the key {name} is missing: {advice}"));
        }
    }

    /// Returns `true` if a mistake was reported for this key or a key below it. Errors that only
    /// follow from it are then left out.
    pub(super) fn blames(&self, key: &str) -> bool {
        let mut hasher = self.digest.build_hasher();
        hasher.write(key.as_bytes());
        self.blamed.borrow().contains(&hasher.finish())
    }

    /// Returns the line of an offset in the text, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.line_ends.partition_point(|end| *end < offset) + 1
    }

    /// Quotes the first line of a range of the text, shortened.
    pub(super) fn quote(&self, place: Range<usize>) -> String {
        /// Characters; enough to recognise the value.
        const LONGEST: usize = 48;
        let line = self.text.get(place).unwrap_or_default().lines().next().unwrap_or_default();
        let start: String = line.chars().take(LONGEST).collect();
        if start.len() < line.len() { format!("{start}...") } else { start }
    }

    /// Notes a file or directory that the text names. Whether the configuration is valid may depend on it.
    pub(super) fn depends_on(&self, path: &Path) {
        self.named.borrow_mut().push(path.to_owned());
    }

    /// Returns the paths that were noted.
    pub(super) fn into_named(self) -> Vec<PathBuf> {
        self.named.into_inner()
    }

    /// Returns the mistakes in the order of their lines.
    pub(super) fn into_errors(self) -> Vec<ConfigError> {
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|error| error.line);
        errors
    }
}
