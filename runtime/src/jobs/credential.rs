//! Secrets that the service manager keeps for the daemon, as variables of a handler.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::config::Secret;
use crate::given::{self, Given, Refusal};
use crate::job::Env;

/// The largest secret, in bytes: what Linux takes as one variable of a process, `MAX_ARG_STRLEN`.
const LARGEST: u64 = 128 << 10;

/// Adds secrets to an environment. No error shows a secret.
///
/// # Errors
/// There are no credentials, or one is missing or cannot be a variable.
pub(super) fn add(env: &mut Env, secrets: &[Secret]) -> Result<()> {
    if secrets.is_empty() {
        return Ok(());
    }
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).with_context(|| {
        let Secret { variable, credential } = &secrets[0];
        format!(
            "secrets.{variable}: there are no credentials (CREDENTIALS_DIRECTORY is not set): write LoadCredential={credential}:/PATH in the unit"
        )
    })?;
    for Secret { variable, credential } in secrets {
        let value = read(&directory, credential).with_context(|| format!("secrets.{variable}"))?;
        env.set(variable.clone(), value)
            .map_err(|_| anyhow::anyhow!("secrets.{variable}: not a variable"))?;
    }
    Ok(())
}

/// Reads one credential, without a newline at its end.
fn read(directory: &Path, name: &str) -> Result<String> {
    let path = directory.join(name);
    let bytes = match given::read(&path, LARGEST) {
        Ok(Given { bytes, .. }) => bytes,
        Err(Refusal::Unreadable(error)) if error.kind() == ErrorKind::NotFound => {
            bail!("there is no credential {name:?}: write LoadCredential={name}:/PATH in the unit")
        }
        Err(refusal) => bail!("the credential {name:?} cannot be read: {refusal}"),
    };
    let Ok(mut text) = String::from_utf8(bytes) else { bail!("the credential {name:?} is no UTF-8 text") };
    if text.ends_with('\n') {
        text.pop();
    }
    ensure!(!text.contains('\0'), "the credential {name:?} holds a NUL character");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_loses_one_newline_and_is_never_shown() {
        let place = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(place.path().join(name), bytes).unwrap();
        write("good", b"two\nlines\n");
        write("nul", b"hidden\0");
        write("binary", b"hidden\xff");

        assert_eq!(read(place.path(), "good").unwrap(), "two\nlines");
        for (name, why) in
            [("nul", "holds a NUL"), ("binary", "no UTF-8"), ("missing", "LoadCredential=missing:/PATH")]
        {
            let refusal = format!("{:#}", read(place.path(), name).unwrap_err());
            assert!(refusal.contains(why) && !refusal.contains("hidden"), "{refusal}");
        }
    }
}
