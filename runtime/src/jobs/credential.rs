//! Reads the secrets of handlers and the passwords of stores and databases: from credentials, files, or variables of the daemon.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, Error, Result, anyhow, bail, ensure};

use crate::config::{
    self, Config, DatabaseConfig, HandlerConfig, Secret, SecretSource, StoreConfig, secrets_file,
};
use crate::database::DatabaseOptions;
use crate::job::Env;
use crate::operator_file::{self, ReadError, ReadFile};
use crate::store::StoreOptions;

/// The largest secret, in bytes: the size that Linux allows for one variable of a process, `MAX_ARG_STRLEN`.
const LARGEST: u64 = 128 << 10;

/// Adds the secrets of a handler to an environment. No error shows a secret.
///
/// # Errors
/// A secret is missing, empty, or cannot be a variable.
pub(super) fn add(env: &mut Env, handler: &HandlerConfig) -> Result<()> {
    for Secret { variable, source } in &handler.secrets {
        let value = find(handler, variable, source).with_context(|| format!("secrets.{variable}"))?;
        // A file that is being written is empty for a moment. Only a developer writes an empty text on purpose.
        let may_be_empty = matches!(source, SecretSource::Development(_));
        ensure!(may_be_empty || !value.is_empty(), "secrets.{variable}: {source} is empty");
        ensure!(!value.contains('\0'), "secrets.{variable}: {source} holds a NUL character");
        env.set(variable.clone(), value).map_err(|_| anyhow!("secrets.{variable}: not a variable"))?;
    }
    Ok(())
}

/// Lists what is wrong with the secrets of handlers, one error for a handler. No error shows a secret.
pub fn unreadable_secrets(config: &Config) -> Vec<Error> {
    let refusal = |handler: &HandlerConfig| {
        let error = add(&mut Env::new(), handler).err()?;
        Some(error.context(format!("handler {:?}", handler.name.as_str())))
    };
    config.handlers.iter().filter_map(refusal).collect()
}

/// Returns the options of a store, with the password in its URL. No error shows a password.
///
/// # Errors
/// The password is missing.
pub(super) fn store(StoreConfig { options, password }: &StoreConfig) -> Result<StoreOptions> {
    let Some(source) = password else { return Ok(options.clone()) };
    let password = server_password(&format!("store.{}.password", options.name), source)?;
    Ok(StoreOptions { url: options.url.with_password(&password), ..options.clone() })
}

/// Returns the options of a database, with the password in its URL. No error shows a password.
///
/// # Errors
/// The password is missing.
pub(super) fn database(DatabaseConfig { options, password }: &DatabaseConfig) -> Result<DatabaseOptions> {
    let Some(source) = password else { return Ok(options.clone()) };
    let password = server_password(&format!("database.{}.password", options.name), source)?;
    Ok(DatabaseOptions { url: options.url.with_password(&password), ..options.clone() })
}

fn server_password(key: &str, source: &SecretSource) -> Result<String> {
    let read = || match source {
        SecretSource::Credential(credential) => {
            let advice = format!(": write LoadCredential={credential}:/PATH in the unit");
            let directory = config::credentials().with_context(|| {
                format!("there are no credentials (CREDENTIALS_DIRECTORY is not set){advice}, or {{ file = \"PATH\" }} here")
            })?;
            read(&directory.join(credential), source, &advice)
        }
        SecretSource::File(path) => read(path, source, ""),
        SecretSource::Variable(name) => variable_of_daemon(name, source),
        SecretSource::Development(_) => bail!("{source} is for the secrets of handlers"),
    };
    let password = read().with_context(|| key.to_owned())?;
    ensure!(!password.is_empty(), "{key}: {source} is empty");
    Ok(password)
}

fn find(handler: &HandlerConfig, variable: &str, source: &SecretSource) -> Result<String> {
    match source {
        SecretSource::Credential(name) => {
            let directory = config::credentials().with_context(|| {
                format!(
                    "there are no credentials (CREDENTIALS_DIRECTORY is not set): write LoadCredential={name}:/PATH in the \
                     unit, {{ file = \"PATH\" }} here, or for `portcullis up` and `run` {variable} = \"...\" in {}",
                    secrets_file::FILE
                )
            })?;
            let missing = format!(": write LoadCredential={name}:/PATH in the unit");
            read(&directory.join(name), source, &missing)
        }
        SecretSource::File(path) => read(path, source, ""),
        SecretSource::Variable(name) => variable_of_daemon(name, source),
        SecretSource::Development(file) => secrets_file::value(file, handler.name.as_str(), variable),
    }
}

fn variable_of_daemon(name: &str, source: &SecretSource) -> Result<String> {
    match std::env::var(name) {
        Ok(value) if value.len() as u64 > LARGEST => bail!("{source} is larger than 128 KiB"),
        Ok(value) => Ok(value),
        Err(std::env::VarError::NotPresent) => bail!("{source} is not set"),
        Err(std::env::VarError::NotUnicode(_)) => bail!("{source} is not UTF-8 text"),
    }
}

/// Reads a file, without a line break at its end. `advice` is added to the error if a credential does not exist.
fn read(path: &Path, source: &SecretSource, advice: &str) -> Result<String> {
    let bytes = match operator_file::read(path, LARGEST) {
        Ok(ReadFile { bytes, .. }) => bytes,
        Err(ReadError::Unreadable(error)) if error.kind() == ErrorKind::NotFound => match source {
            SecretSource::Credential(name) => bail!("there is no credential {name:?}{advice}"),
            _ => bail!("there is no file {source}"),
        },
        Err(refusal) => bail!("{source} cannot be read: {refusal}"),
    };
    let Ok(mut text) = String::from_utf8(bytes) else { bail!("{source} is not UTF-8 text") };
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(source: SecretSource) -> Result<String> {
        let handler = HandlerConfig {
            secrets: vec![Secret { variable: "KEY".to_owned(), source }],
            ..HandlerConfig::of_module("one".parse().unwrap(), "/nowhere".into())
        };
        let mut env = Env::new();
        add(&mut env, &handler)?;
        Ok(env.get("KEY").unwrap().to_owned())
    }

    #[test]
    fn a_secret_of_a_file_loses_one_newline_and_is_never_shown() {
        let place = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(place.path().join(name), bytes).unwrap();
        write("good", b"two\nlines\n\n");
        write("of Windows", b"two\r\nlines\r\n");
        write("empty", b"");
        write("line", b"\n");
        write("nul", b"hidden\0");
        write("binary", b"hidden\xff");
        write("largest", &[b'h'; LARGEST as usize]);
        write("larger", &[b'h'; LARGEST as usize + 1]);
        let of_file = |name: &str| secret(SecretSource::File(place.path().join(name)));

        assert_eq!(of_file("good").unwrap(), "two\nlines\n");
        assert_eq!(of_file("of Windows").unwrap(), "two\r\nlines");
        assert_eq!(of_file("largest").unwrap().len() as u64, LARGEST);
        for (name, why) in [
            ("empty", "/empty is empty"),
            ("line", "/line is empty"),
            ("nul", "holds a NUL"),
            ("binary", "not UTF-8"),
            ("missing", "there is no file /"),
            ("larger", "larger than 128 KiB"),
            ("", "found a directory"),
        ] {
            let refusal = format!("{:#}", of_file(name).unwrap_err());
            assert!(refusal.contains(why) && !refusal.contains("hidden"), "{refusal}");
            assert!(refusal.starts_with("secrets.KEY: "), "{refusal}");
        }
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        // Cargo sets this variable for tests.
        let variable = |name: &str| secret(SecretSource::Variable(name.to_owned()));

        assert_eq!(variable("CARGO_PKG_NAME").unwrap(), "portcullis");
        let refusal = format!("{:#}", variable("NOBODY_SETS_THIS").unwrap_err());
        assert!(refusal.contains("the variable NOBODY_SETS_THIS of the daemon is not set"), "{refusal}");
    }
}
