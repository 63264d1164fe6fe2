//! Reads `handler.NAME.secrets` and other values that are not in the configuration.

use std::fmt;
use std::path::{Path, PathBuf};

use super::reader::{Keyed, NamedTable};
use super::report::Diagnostics;
use super::schema;
use crate::job::Env;

/// A variable whose value is not in the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secret {
    /// The variable of the handler.
    pub variable: String,
    /// The source of its value.
    pub source: SecretSource,
}

/// The source of a secret's value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSource {
    /// A file in the directory of the service's credentials.
    Credential(String),
    /// Another file.
    File(PathBuf),
    /// A variable of the daemon's environment.
    Variable(String),
    /// The `secrets.toml` of a developer.
    Development(PathBuf),
}

/// Reads the secrets; `env` holds the handler's other variables.
pub(super) fn read(
    written: &NamedTable<schema::WrittenSecret>,
    env: &Env,
    base: &Path,
    report: &Diagnostics<'_>,
) -> Vec<Secret> {
    let secret = |(variable, at): &(String, Keyed<schema::WrittenSecret>)| {
        report.settle(Some(at), None, |secret| {
            Env::new().set(variable.clone(), "").map_err(|error| error.to_string())?;
            if env.get(variable).is_some() {
                return Err("is in env already: write it once".to_owned());
            }
            Ok(Some(Secret { variable: variable.clone(), source: source(secret, base)? }))
        })
    };
    written.0.iter().filter_map(secret).collect()
}

pub(super) fn source(written: &schema::WrittenSecret, base: &Path) -> Result<SecretSource, String> {
    let table = match written {
        schema::WrittenSecret::Credential(name) if is_name(name) => {
            return Ok(SecretSource::Credential(name.clone()));
        }
        // The text is not shown: it may be the secret itself.
        schema::WrittenSecret::Credential(_) => {
            return Err(
                "wanted the name of a credential, as in LoadCredential=, found another text; for a file, \
                        write { file = \"PATH\" }"
                    .to_owned(),
            );
        }
        schema::WrittenSecret::Table(table) => table,
    };
    match (&table.file, &table.env) {
        (Some(Keyed { value: path, .. }), None) => match path.as_str() {
            "" => Err("file: wanted a path, found \"\"".to_owned()),
            path if path.contains('\0') => Err("file: wanted a path, found a NUL in it".to_owned()),
            path => Ok(SecretSource::File(base.join(path))),
        },
        (None, Some(Keyed { value: name, .. })) => match name.contains(['=', '\0']) || name.is_empty() {
            true => Err(format!("env: wanted the name of a variable, found {name:?}")),
            false => Ok(SecretSource::Variable(name.clone())),
        },
        (Some(_), Some(_)) => Err("has both file and env: leave one of them out".to_owned()),
        (None, None) => Err("wanted { file = \"PATH\" } or { env = \"NAME\" }".to_owned()),
    }
}

impl SecretSource {
    /// Returns the file whose content is the value, if there is one. `credentials` is the directory of the service's
    /// credentials.
    pub fn file(&self, credentials: Option<&Path>) -> Option<PathBuf> {
        match self {
            SecretSource::Credential(name) => Some(credentials?.join(name)),
            SecretSource::File(path) => Some(path.clone()),
            SecretSource::Development(_) | SecretSource::Variable(_) => None,
        }
    }
}

/// The name of the source in errors. Never shows the value.
impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretSource::Credential(name) => write!(f, "the credential {name:?}"),
            SecretSource::File(path) | SecretSource::Development(path) => write!(f, "{}", path.display()),
            SecretSource::Variable(name) => write!(f, "the variable {name} of the daemon"),
        }
    }
}

/// Returns `true` if a text is a plain file name for the directory of credentials.
fn is_name(text: &str) -> bool {
    // systemd.exec(5): a file name of ASCII without ":"; 255 is NAME_MAX.
    let sound = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':');
    (1..=255).contains(&text.len()) && text != "." && text != ".." && text.bytes().all(sound)
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn a_credential_is_a_file_beside_its_like() {
        assert!(is_name("api-key.v2"));
        for bad in ["", ".", "..", "a/b", "../a", "a:b", "a b", "a\n"] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
