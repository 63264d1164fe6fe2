//! `handler.NAME.secrets`: variables whose values are credentials of the service.

use super::meant::Secret;
use super::reader::{At, Named};
use super::report::Report;
use crate::job::Env;

/// Reads the secrets; `env` is what the handler's variables are otherwise.
pub(super) fn read(written: &Named<String>, env: &Env, report: &Report<'_>) -> Vec<Secret> {
    let secret = |(variable, at): &(String, At<String>)| {
        report.settle(Some(at), None, |credential| {
            Env::new().set(variable.clone(), "").map_err(|error| error.to_string())?;
            if env.get(variable).is_some() {
                return Err("stands in env already: write it once".to_owned());
            }
            if !is_name(credential) {
                return Err(format!(
                    "wanted the name of a credential, as LoadCredential= has it, found {credential:?}"
                ));
            }
            Ok(Some(Secret { variable: variable.clone(), credential: credential.clone() }))
        })
    };
    written.0.iter().filter_map(secret).collect()
}

/// Says whether a text names a file in the directory of the credentials, and nothing else.
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
