//! The names under which sockets are passed to the next process, derived from their endpoints.

use crate::net::endpoint::Endpoint;
use anyhow::bail;
use std::fmt::Write as _;

/// systemd's limit, `FDNAME_MAX`.
const LONGEST_NAME: usize = 255;

/// Returns the name under which the socket of an endpoint is passed on. The name has no ":", which systemd does not
/// allow, and is unique per endpoint.
pub(in crate::net) fn of(endpoint: &Endpoint) -> anyhow::Result<String> {
    let name = endpoint.to_string().bytes().fold(String::new(), |mut name, byte| {
        match byte {
            b':' | b'%' | ..b' ' | 0x7f.. => {
                let _infallible = write!(name, "%{byte:02X}");
            }
            plain => name.push(char::from(plain)),
        }
        name
    });
    if name.len() > LONGEST_NAME {
        bail!("{endpoint} is too long to be passed on: choose a shorter path");
    }
    Ok(name)
}

/// Returns whether this module made the name.
pub(super) fn is_ours(name: &str) -> bool {
    name.contains("%3A//")
}

/// Returns the path of a Unix socket by the name under which it was passed on.
pub(in crate::net) fn path(name: &str) -> Option<std::path::PathBuf> {
    let encoded = name.strip_prefix("unix%3A//")?;
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(encoded).collect();
    Some(std::ffi::OsString::from(String::from_utf8(bytes).ok()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_endpoint_has_a_name_that_systemd_takes() {
        let named = |text: &str| of(&text.parse().unwrap()).unwrap();

        assert_eq!(named("tcp://[::1]:80"), "tcp%3A//[%3A%3A1]%3A80");
        assert_eq!(named("unix:///run/a%b.sock"), "unix%3A///run/a%25b.sock");
        assert!(of(&format!("unix:///{}", "\u{e9}".repeat(60)).parse().unwrap()).is_err());
        assert!(!is_ours("web") && is_ours("portcullis%3A//channel") && is_ours(&named("tcp://:1")));
    }

    proptest! {
        #[test]
        fn a_path_is_found_again_in_its_name(text in "/[a-z%:. \u{e9}]{1,20}x") {
            let name = of(&Endpoint::Unix(text.clone().into())).unwrap();

            prop_assert!(name.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b':'));
            prop_assert_eq!(path(&name), Some(text.into()));
        }
    }
}
