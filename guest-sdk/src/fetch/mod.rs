//! HTTP requests to other servers, for handlers that are components (`wasm32-wasip2`).
//!
//! ```no_run
//! use portcullis_guest::{Error, Request, Response, fetch};
//!
//! fn weather(_request: &Request) -> Result<Response, Error> {
//!     let answer = fetch::get("https://api.example.org/weather").header("Accept", "text/plain").send()?;
//!     Ok(Response::text(answer.text()?))
//! }
//! ```
//!
//! The daemon sends a request only if the handler is allowed to reach the origin:
//!
//! ```toml
//! [handler.weather]
//! module = "build/weather.wasm"
//! allow = ["https://api.example.org"]
//! ```
//!
//! A denied request fails with [`FetchError::Denied`], and the daemon's log names the line to add. Redirects are not
//! followed: a 302 is returned like any other response.
//!
//! Write `targets = ["wasm32-wasip2"]` below `[package.metadata.portcullis]` in the crate's `Cargo.toml`. A module
//! for `wasm32-wasip1` cannot make requests, and does not compile with this feature. In tests on the build machine,
//! [`Fetch::send`] fails with [`FetchError::Unsupported`].

#[cfg(all(target_os = "wasi", target_env = "p2"))]
mod wire;

#[cfg(not(all(target_os = "wasi", target_env = "p2")))]
#[path = "unsupported.rs"]
mod wire;

use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

/// A request that is being built.
#[must_use = "nothing is sent before `send`"]
pub struct Fetch {
    method: String,
    url: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
    timeout: Option<Duration>,
    connect_timeout: Option<Duration>,
}

/// A response. Its body is read as it arrives. Dropping the response ends the exchange.
pub struct Fetched {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    body: wire::Incoming,
}

/// Why there is no response, or only a part of it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FetchError {
    /// The handler is not allowed to reach this origin, or its address. The daemon's log names the configuration line
    /// that would allow it.
    Denied(String),
    /// The request is invalid, for the reason given.
    Malformed(String),
    /// The request reached the limit on its calls or bytes (`limits.outbound`).
    Limited(String),
    /// A time limit was reached.
    TimedOut(String),
    /// There is no trusted connection: the host has no address, nothing listens there, or the certificate belongs to
    /// another server.
    Unreachable(String),
    /// The exchange broke off.
    Broken(String),
    /// This is not a component: build for `wasm32-wasip2`.
    Unsupported,
}

/// Starts a GET request.
pub fn get(url: impl Into<String>) -> Fetch {
    request("GET", url)
}

/// Starts a POST request.
pub fn post(url: impl Into<String>) -> Fetch {
    request("POST", url)
}

/// Starts a PUT request.
pub fn put(url: impl Into<String>) -> Fetch {
    request("PUT", url)
}

/// Starts a DELETE request.
pub fn delete(url: impl Into<String>) -> Fetch {
    request("DELETE", url)
}

/// Starts a request with any method. The URL starts with `http://` or `https://`.
pub fn request(method: impl Into<String>, url: impl Into<String>) -> Fetch {
    let (method, url) = (method.into(), url.into());
    Fetch { method, url, fields: Vec::new(), body: None, timeout: None, connect_timeout: None }
}

impl Fetch {
    /// Adds a header field. `Host` and fields about the connection are set by the daemon: [`Fetch::send`] refuses
    /// them.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Fetch {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Fetch {
        self.body = Some(body.into());
        self
    }

    /// Sets the body to a value in JSON, and the `Content-Type`.
    ///
    /// # Errors
    /// The value cannot be represented in JSON.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(self, value: &T) -> Result<Fetch, FetchError> {
        let body = serde_json::to_vec(value).map_err(|error| FetchError::Malformed(error.to_string()))?;
        Ok(self.header("Content-Type", "application/json").body(body))
    }

    /// Limits the time of the whole exchange, up to the last byte of the response. A longer exchange fails with
    /// [`FetchError::TimedOut`], also while the body is read. The daemon's own limits (`limits.outbound`) still
    /// apply.
    ///
    /// ```no_run
    /// use portcullis_guest::{Error, fetch};
    /// use std::time::Duration;
    ///
    /// fn rate() -> Result<String, Error> {
    ///     let answer = fetch::get("https://api.example.org/rate").timeout(Duration::from_secs(2)).send()?;
    ///     Ok(answer.text()?)
    /// }
    /// ```
    pub fn timeout(mut self, time: Duration) -> Fetch {
        self.timeout = Some(time);
        self
    }

    /// Limits the time to connect, including the TLS handshake.
    pub fn connect_timeout(mut self, time: Duration) -> Fetch {
        self.connect_timeout = Some(time);
        self
    }

    /// Sends the request and waits for the head of the response. A status such as 404 is not an error.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn send(self) -> Result<Fetched, FetchError> {
        wire::send(self)
    }
}

impl Fetched {
    /// Returns the status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the value of the first field with this name, if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        value.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// Returns all fields, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// Reads the rest of the body.
    ///
    /// # Errors
    /// The exchange breaks off or reaches a limit.
    pub fn bytes(mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        self.read_to_end(&mut all)?;
        Ok(all)
    }

    /// Reads the rest of the body as text.
    ///
    /// # Errors
    /// As for [`Fetched::bytes`], or the body is not UTF-8.
    pub fn text(mut self) -> io::Result<String> {
        let mut all = String::new();
        self.read_to_string(&mut all)?;
        Ok(all)
    }

    /// Reads the rest of the body as JSON.
    ///
    /// # Errors
    /// As for [`Fetched::bytes`], or the body is not such a value in JSON.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(self) -> io::Result<T> {
        Ok(serde_json::from_slice(&self.bytes()?)?)
    }
}

/// Reads the body as it arrives.
impl Read for Fetched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer)
    }
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetched").field("status", &self.status).finish_non_exhaustive()
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::Denied(what) => write!(f, "denied: {what}: the daemon's log names the line to add"),
            FetchError::Malformed(what) => write!(f, "cannot be sent: {what}"),
            FetchError::Limited(what) => write!(f, "beyond limits.outbound: {what}"),
            FetchError::TimedOut(what) => write!(f, "took too long: {what}"),
            FetchError::Unreachable(what) => write!(f, "cannot be reached: {what}"),
            FetchError::Broken(what) => write!(f, "broke off: {what}"),
            FetchError::Unsupported => {
                f.write_str("only a component can ask other servers: build for wasm32-wasip2")
            }
        }
    }
}

impl std::error::Error for FetchError {}

/// The parts of a URL that a request needs.
#[derive(Debug, PartialEq, Eq)]
struct Url<'a> {
    secure: bool,
    authority: &'a str,
    /// Path and query. Never empty.
    target: String,
}

/// Splits a URL. The daemon checks whether its host is valid.
#[cfg_attr(not(target_os = "wasi"), allow(dead_code, reason = "nothing is sent, but this is tested"))]
fn split(url: &str) -> Result<Url<'_>, FetchError> {
    let bad = || FetchError::Malformed("a URL begins with http://HOST or https://HOST".to_owned());
    let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
    let secure = match scheme {
        _ if scheme.eq_ignore_ascii_case("https") => true,
        _ if scheme.eq_ignore_ascii_case("http") => false,
        _ => return Err(bad()),
    };
    // A fragment is not sent (RFC 9110 §4.2.5).
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.is_empty() {
        return Err(bad());
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok(Url { secure, authority, target: format!("{slash}{target}") })
}

/// Converts the name of a `wasi:http` error into words: `ErrorCode::DnsTimeout` becomes `DNS timeout`.
#[cfg_attr(not(target_os = "wasi"), allow(dead_code, reason = "nothing is sent, but this is tested"))]
fn words(code: &str) -> String {
    let name = code.trim_start_matches("ErrorCode::").split(['(', ' ']).next().unwrap_or_default();
    let mut words: Vec<String> = Vec::new();
    for letter in name.chars() {
        match words.last_mut() {
            Some(word) if !letter.is_ascii_uppercase() => word.push(letter),
            Some(_) | None => words.push(letter.to_ascii_lowercase().to_string()),
        }
    }
    let word = |word: String| match word.as_str() {
        "http" | "dns" | "tls" | "ip" | "uri" => word.to_ascii_uppercase(),
        _ => word,
    };
    words.into_iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_type_of_ours_is_in_what_a_user_reads() {
        for (code, told) in [
            ("ErrorCode::DnsTimeout", "DNS timeout"),
            ("ErrorCode::HttpRequestDenied", "HTTP request denied"),
            ("ErrorCode::DestinationIpProhibited", "destination IP prohibited"),
            ("ErrorCode::HttpResponseBodySize(Some(12))", "HTTP response body size"),
        ] {
            assert_eq!(words(code), told);
        }
    }

    #[test]
    fn a_url_is_a_scheme_an_authority_and_a_target() {
        let of = |url| split(url).map(|url| (url.secure, url.authority.to_owned(), url.target));
        let is =
            |secure, authority: &str, target: &str| Ok((secure, authority.to_owned(), target.to_owned()));

        assert_eq!(of("https://a.b"), is(true, "a.b", "/"));
        assert_eq!(of("HTTP://a:8080/c?d=e#f"), is(false, "a:8080", "/c?d=e"));
        assert_eq!(of("http://[::1]:80?a"), is(false, "[::1]:80", "/?a"));
        for url in ["", "a", "/a", "a.b/c", "ftp://a", "https://", "https:///a"] {
            assert!(matches!(of(url), Err(FetchError::Malformed(_))), "{url}");
        }
    }

    #[test]
    fn where_there_is_no_component_nothing_is_sent() {
        let outcome = get("https://api.example.org/").header("Accept", "*/*").body("x").send();

        assert_eq!(outcome.err(), Some(FetchError::Unsupported));
    }
}
