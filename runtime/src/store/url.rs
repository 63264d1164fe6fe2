//! Where a store is: `memory:`, `redb:PATH`, `redis://...` or `nats://...`.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::file_place::names_file;

/// A back end and its address. `Display` and `Debug` show no credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum StoreUrl {
    /// In the daemon's memory.
    Memory,
    /// In a file.
    Redb(PathBuf),
    /// In a Redis server, `redis://` or `rediss://`.
    Redis(String),
    /// In a NATS server with JetStream, `nats://` or `tls://`.
    Nats(String),
}

/// A text that names no back end.
#[derive(Debug, PartialEq, Eq)]
pub struct StoreUrlError(String);

impl std::str::FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<StoreUrl, StoreUrlError> {
        let wrong = |what: &str| Err(StoreUrlError(what.to_owned()));
        match text.split_once(':') {
            Some(("memory", "")) => Ok(StoreUrl::Memory),
            Some(("redb", path)) if names_file(path) && !path.starts_with("//") => {
                Ok(StoreUrl::Redb(PathBuf::from(path)))
            }
            Some(("redb", _)) => wrong("write redb:PATH, as in redb:data/carts.redb"),
            Some(("redis" | "rediss", _)) => redis_server(text).map(StoreUrl::Redis),
            Some(("nats" | "tls", _)) => server(text).map(StoreUrl::Nats),
            _ => wrong("write memory:, redb:PATH, redis://HOST:PORT/DATABASE or nats://HOST:PORT"),
        }
    }
}

fn server(url: &str) -> Result<String, StoreUrlError> {
    let host = url.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
    if host.is_empty() || host.starts_with('/') {
        return Err(StoreUrlError(
            "write the server's name after //, as in redis://cache.internal:6379/0".to_owned(),
        ));
    }
    Ok(url.to_owned())
}

/// Checks the URL of a Redis server as its client reads it: what the client cannot read is no server that is down.
fn redis_server(url: &str) -> Result<String, StoreUrlError> {
    let url = server(url)?;
    let rest = url.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
    // The host ends here for the client. An `@` behind it belongs to a password that is not encoded, or to nothing.
    let has_late_password = rest.find(['/', '?', '#']).is_some_and(|end| rest[end..].contains('@'));
    #[cfg(feature = "redis")]
    let is_read = redis::IntoConnectionInfo::into_connection_info(url.as_str()).is_ok();
    #[cfg(not(feature = "redis"))]
    let is_read = true;
    // The client reads `#insecure`, and then never connects: it is built to check certificates.
    match is_read && !has_late_password && !rest.contains('#') {
        true => Ok(url),
        false => Err(StoreUrlError(
            "not a URL of a Redis server: write redis://HOST:PORT/DATABASE, where HOST is not 0.0.0.0 and DATABASE is a \
             number; in a password, write @ as %40, / as %2F, ? as %3F, # as %23 and % as %25; there is no #insecure"
                .to_owned(),
        )),
    }
}

/// Splits a URL into its scheme, what stands before the host, and the rest.
pub(super) fn split(url: &str) -> (&str, Option<&str>, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    // The last `@`: a password may hold others that should have been percent-encoded.
    match rest.rsplit_once('@') {
        Some((user, rest)) => (scheme, Some(user), rest),
        None => (scheme, None, rest),
    }
}

impl StoreUrl {
    /// Whether there is a server that may want a password.
    pub fn has_password(&self) -> bool {
        matches!(self, StoreUrl::Redis(_) | StoreUrl::Nats(_))
    }

    /// Whether a password is a part of the URL.
    pub fn holds_password(&self) -> bool {
        match self {
            StoreUrl::Memory | StoreUrl::Redb(_) => false,
            StoreUrl::Redis(url) | StoreUrl::Nats(url) => split(url).1.is_some_and(|user| user.contains(':')),
        }
    }

    /// Returns the URL with this password in it.
    pub fn with_password(&self, password: &str) -> StoreUrl {
        let with = |url: &str, user_of: &dyn Fn(&str) -> String| {
            let (scheme, user, rest) = split(url);
            format!("{scheme}://{}@{rest}", user_of(user.unwrap_or_default()))
        };
        let password = utf8_percent_encode(password, NON_ALPHANUMERIC);
        match self {
            StoreUrl::Memory | StoreUrl::Redb(_) => self.clone(),
            StoreUrl::Redis(url) => StoreUrl::Redis(with(url, &|user| format!("{user}:{password}"))),
            // NATS has passwords of users, and tokens without a user.
            StoreUrl::Nats(url) => StoreUrl::Nats(with(url, &|user| match user {
                "" => password.to_string(),
                user => format!("{user}:{password}"),
            })),
        }
    }

    /// Whether the durability of a write is chosen here, rather than at the server.
    pub fn has_durability(&self) -> bool {
        matches!(self, StoreUrl::Redb(_))
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Memory => f.write_str("memory:"),
            StoreUrl::Redb(path) => write!(f, "redb:{}", path.display()),
            StoreUrl::Redis(url) | StoreUrl::Nats(url) => {
                let (scheme, _, rest) = split(url);
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                // A query may hold a password too.
                let path = path.split(['?', '#']).next().unwrap_or_default();
                let slash = if path.is_empty() { "" } else { "/" };
                write!(f, "{scheme}://{host}{slash}{path}")
            }
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for StoreUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreUrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_never_shown() {
        for (url, shown) in [
            ("redis://ada:secret@cache:6379/2?x=secret", "redis://cache:6379/2"),
            ("nats://secret@n1:4222", "nats://n1:4222"),
            ("tls://ada:se/cret@h", "tls://h"),
            ("rediss://:se@cret@h", "rediss://h"),
            ("redb:data/a.redb", "redb:data/a.redb"),
            ("memory:", "memory:"),
        ] {
            let url: StoreUrl = url.parse().unwrap();
            assert_eq!((format!("{url}"), format!("{url:?}")), (shown.to_owned(), shown.to_owned()));
        }
    }

    #[test]
    fn a_password_becomes_a_part_of_the_url() {
        let with = |url: &str| match url.parse::<StoreUrl>().unwrap().with_password("a@b:/%") {
            StoreUrl::Redis(url) | StoreUrl::Nats(url) => url,
            other => other.to_string(),
        };
        assert_eq!(with("redis://h/2"), "redis://:a%40b%3A%2F%25@h/2");
        assert_eq!(with("redis://ada@h:1"), "redis://ada:a%40b%3A%2F%25@h:1");
        assert_eq!(with("nats://h,i"), "nats://a%40b%3A%2F%25@h,i");
        assert_eq!(with("tls://ada@h"), "tls://ada:a%40b%3A%2F%25@h");
        assert_eq!(with("memory:"), "memory:");
        let holds = |url: &str| url.parse::<StoreUrl>().unwrap().holds_password();
        assert!(
            holds("redis://:x@h") && holds("nats://a:b@h") && !holds("redis://ada@h:1") && !holds("memory:")
        );
    }

    #[test]
    fn what_is_no_store_is_refused() {
        for url in ["", "memory:x", "redb:", "redb://x", "redis:", "redis:///0", "postgres://x", "data.redb"]
        {
            assert!(url.parse::<StoreUrl>().is_err(), "{url}");
        }
        for directory in ["redb:data/", "redb:.", "redb:/", "redb:..", "redb:data/."] {
            assert!(directory.parse::<StoreUrl>().is_err(), "{directory}");
        }
    }

    #[cfg(feature = "redis")]
    #[test]
    fn a_url_that_the_client_of_redis_cannot_read_is_refused_without_its_password() {
        for url in [
            "redis://h/zero",
            "redis://h/0/1",
            "redis://h:99999",
            "redis://[::1",
            "redis://:se/cret@h",
            "redis://:se?cret@h",
            "redis://:se#cret@h",
            "redis://h/0?password=se@cret",
            "redis://0.0.0.0",
            "rediss://h/#insecure",
        ] {
            let error = url.parse::<StoreUrl>().unwrap_err().to_string();
            assert!(error.contains("write redis://HOST:PORT") && !error.contains("cret"), "{url}: {error}");
        }
        // A percent sign that is no escape may decode to what is no text.
        let error = "redis://:se%FFcret@h".parse::<StoreUrl>().unwrap_err().to_string();
        assert!(error.contains("% as %25"), "{error}");
    }
}
