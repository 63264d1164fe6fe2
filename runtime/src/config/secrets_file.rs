//! Reads `secrets.toml`: the secrets on a developer's machine, for `up` and `run`.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, anyhow};
use toml::de::{DeTable, DeValue};

use super::model::Config;
use super::secret::{Secret, SecretSource};
use crate::operator_file::{self, ReadError};

/// The name of the file, which lies beside the configuration.
pub const FILE: &str = "secrets.toml";

/// The largest `secrets.toml`, in bytes.
const LARGEST: u64 = 1 << 20;

/// The values by handler and variable. Values at the top of the file have no handler and apply to all.
struct Values(HashMap<(Option<String>, String), String>);

impl Config {
    /// Takes secrets from `secrets.toml` beside the configuration where it has a value, and leaves the other
    /// secrets alone.
    ///
    /// # Errors
    /// The file cannot be read, or is not a table of strings.
    pub fn develop(&mut self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let Some(values) = Values::read(&path)? else { return Ok(()) };
        for handler in &mut self.handlers {
            let known = |secret: &&mut Secret| values.find(handler.name.as_str(), &secret.variable).is_some();
            for secret in handler.secrets.iter_mut().filter(known) {
                secret.source = SecretSource::Development(path.clone());
            }
        }
        Ok(())
    }
}

/// Reads one value from `secrets.toml`.
///
/// # Errors
/// The file cannot be read any more, or no longer has the value.
pub fn value(file: &Path, handler: &str, variable: &str) -> Result<String> {
    let values = Values::read(file)?;
    let value = values.and_then(|values| values.find(handler, variable).cloned());
    value.ok_or_else(|| anyhow!("{}: {variable} is no longer in it", file.display()))
}

impl Values {
    /// Reads a file. Returns `None` if it does not exist. No error shows a value from the file.
    fn read(path: &Path) -> Result<Option<Values>> {
        let shown = path.display();
        let text = match operator_file::text(path, LARGEST) {
            Ok(text) => text,
            Err(ReadError::Unreadable(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(refusal) => return Err(anyhow!("{shown}: {refusal}")),
        };
        let wrong = || anyhow!("{shown}: wanted VARIABLE = \"value\", or such lines below [HANDLER]");
        let table = DeTable::parse(&text).map_err(|_| wrong())?.into_inner();
        let mut values = HashMap::new();
        for (name, value) in table {
            let name = name.into_inner().into_owned();
            let of_handler = match value.into_inner() {
                DeValue::String(value) => {
                    values.insert((None, name), value.into_owned());
                    continue;
                }
                DeValue::Table(of_handler) => of_handler,
                _ => return Err(wrong()),
            };
            for (variable, value) in of_handler {
                let DeValue::String(value) = value.into_inner() else { return Err(wrong()) };
                values.insert((Some(name.clone()), variable.into_inner().into_owned()), value.into_owned());
            }
        }
        Ok(Some(Values(values)))
    }

    fn find(&self, handler: &str, variable: &str) -> Option<&String> {
        let of = |handler: Option<&str>| self.0.get(&(handler.map(str::to_owned), variable.to_owned()));
        of(Some(handler)).or_else(|| of(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handlers_own_value_goes_before_that_of_all_and_no_error_shows_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        std::fs::write(&path, "KEY = \"for all\"\n[hello]\nKEY = \"own\"\n").unwrap();

        assert_eq!(value(&path, "hello", "KEY").unwrap(), "own");
        assert_eq!(value(&path, "other", "KEY").unwrap(), "for all");
        assert!(value(&path, "other", "NONE").is_err());
        for bad in ["KEY = hidden\n", "KEY = 4711\n", "[hello]\nKEY = [\"hidden\"]\n"] {
            std::fs::write(&path, bad).unwrap();
            let refusal = format!("{:#}", value(&path, "hello", "KEY").unwrap_err());
            assert!(!refusal.contains("hidden") && !refusal.contains("4711"), "{refusal}");
        }
    }
}
