//! The head of a request as the variables of CGI/1.1 (RFC 3875 §4.1).
//!
//! Floors, lowest first: `variable`; the encoding in this file.

#[cfg(test)]
mod tests;
mod variable;

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use crate::job::{Env, EnvBuilder};

/// The facts about a request.
///
/// Fields that are text contain no NUL: [`decode`](crate::cgi::path::decode) decoded the path, and hyper passes no
/// NUL. A value that contains one nevertheless is left out.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target as received, still encoded.
    pub uri: &'a Uri,
    /// The HTTP version.
    pub version: Version,
    /// The header.
    pub headers: &'a HeaderMap,
    /// The part of the decoded path that led to the handler: see [`split`](crate::cgi::path::split).
    pub script_name: &'a str,
    /// The rest of the decoded path.
    pub path_info: &'a str,
    /// The path of the route, as it was configured.
    pub matched_route: &'a str,
    /// The id of the job.
    pub request_id: &'a str,
    /// The client's address, as the socket reports it; empty on a Unix socket.
    pub remote_addr: &'a str,
    /// The client's port; `None` on a Unix socket.
    pub remote_port: Option<u16>,
    /// The server's address on this connection; empty on a Unix socket.
    pub server_addr: &'a str,
    /// The server's port on this connection; `None` on a Unix socket.
    pub server_port: Option<u16>,
    /// The scheme, which shows whether the connection is encrypted.
    pub scheme: RequestScheme,
    /// The API version that prefixed the path.
    pub api_version: Option<&'a str>,
}

/// The usual size of the variables that every request has, and of a few others, in bytes.
const FIXED: usize = 640;

/// The usual size of the variable of a header field, in bytes.
const FIELD: usize = 64;

/// The scheme of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestScheme {
    /// In clear, on TCP or a Unix socket.
    Http,
    /// Over TLS.
    Https,
}

/// Makes the variables of a request. `captures` are the variables of the route, such as `ROUTE_WHO`, with their
/// values.
///
/// All names are distinct: header fields use the prefix `HTTP_`, captures `ROUTE_`. Beyond RFC 3875 there are
/// `REQUEST_URI`, `REQUEST_ID`, `REMOTE_PORT`, `HTTPS` if it is `on`, `API_VERSION`, and `X_MATCHED_ROUTE` and
/// `X_FULL_URL` for WAGI modules. Deliberately absent: `PATH_TRANSLATED`, because a guest has no document root unless
/// it has scripts; `AUTH_TYPE` and `REMOTE_USER`, which only gates of the route know.
pub fn encode<'a>(facts: &Facts<'a>, captures: impl IntoIterator<Item = (&'a str, &'a str)>) -> Env {
    let fields = facts.headers.keys_len();
    // 19 fixed variables, some captures, and those that TLS and the configuration add later.
    let mut env = EnvBuilder::with_capacity(fields + 32, fields * FIELD + FIXED);
    let origin = RequestHost::of(facts);
    let mut digits = itoa::Buffer::new();
    env.add("GATEWAY_INTERFACE", "CGI/1.1");
    env.add("SERVER_SOFTWARE", concat!("Portcullis/", env!("CARGO_PKG_VERSION")));
    env.add("SERVER_PROTOCOL", protocol(facts.version));
    env.add("SERVER_NAME", &origin.name);
    env.add("SERVER_PORT", digits.format(origin.port));
    env.add("REQUEST_METHOD", facts.method.as_str());
    env.add("SCRIPT_NAME", facts.script_name);
    env.add("PATH_INFO", facts.path_info);
    // RFC 3875 §4.1.7: set even without a query, to an empty value.
    env.add("QUERY_STRING", facts.uri.query().unwrap_or_default());
    env.add("REMOTE_ADDR", facts.remote_addr);
    // RFC 3875 §4.1.9: the address, if the name is not known. A lookup would block.
    env.add("REMOTE_HOST", facts.remote_addr);
    if let Some(port) = facts.remote_port {
        env.add("REMOTE_PORT", digits.format(port));
    }
    let target = facts.uri.path_and_query().map_or("/", |target| target.as_str());
    env.add("REQUEST_URI", target);
    env.add("REQUEST_ID", facts.request_id);
    env.add("X_MATCHED_ROUTE", facts.matched_route);
    origin.add_url(&mut env, facts.scheme, target);
    if facts.scheme == RequestScheme::Https {
        env.add("HTTPS", "on");
    }
    if let Some(version) = facts.api_version {
        env.add("API_VERSION", version);
    }
    for (variable, value) in captures {
        // The catalog has checked the names, which come from the configuration.
        env.add(variable, value);
    }
    add_fields(&mut env, facts.headers, &origin);
    env.finish()
}

/// Adds the variables of the header fields.
fn add_fields(env: &mut EnvBuilder, headers: &HeaderMap, origin: &RequestHost<'_>) {
    if let Some(value) = headers.get(CONTENT_TYPE).and_then(text) {
        env.add("CONTENT_TYPE", value);
    }
    // RFC 3875 §4.1.2: only for a body of known length. A chunked body has none, whatever else the client sends (RFC
    // 9112 §6.3).
    let is_chunked = || headers.contains_key(TRANSFER_ENCODING);
    if let Some(length) = headers.get(CONTENT_LENGTH).and_then(length).filter(|_| !is_chunked()) {
        env.add("CONTENT_LENGTH", length);
    }
    if let Some(host) = origin.host {
        env.add("HTTP_HOST", host);
    }
    // The values of one name follow each other.
    let mut fields = headers.iter().filter(|(name, _)| *name != HOST).peekable();
    while let Some((name, value)) = fields.next() {
        let mut value = text(value).map(Cow::Borrowed);
        while let Some((_, next)) = fields.next_if(|(next, _)| *next == name) {
            // RFC 9113 §8.2.3 for cookies, RFC 9110 §5.3 for all other fields.
            let between = if name == COOKIE { "; " } else { ", " };
            value = value.zip(text(next)).map(|(all, next)| all + between + next);
        }
        if let Some((value, variable)) = value.zip(variable::of(name.as_str())) {
            env.add(&variable, &value);
        }
    }
}

/// Returns a value as text. If it is not UTF-8, the field is left out with all values it would be joined with: a
/// replacement would be a value that the client did not send.
fn text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

/// Returns a length: only digits, and a value that fits 64 bits.
fn length(value: &HeaderValue) -> Option<&str> {
    let digits = text(value)?;
    let sound = digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u64>().is_ok();
    sound.then_some(digits)
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// The host under which the client addresses the server.
struct RequestHost<'a> {
    /// The host from the target or the `Host` field, as received.
    host: Option<&'a str>,
    /// The same, if it consists of a host and a port only.
    sound: Option<&'a str>,
    /// The host without its port (RFC 3875 §4.1.14).
    name: Cow<'a, str>,
    port: u16,
}

impl<'a> RequestHost<'a> {
    fn of(facts: &Facts<'a>) -> RequestHost<'a> {
        // RFC 9112 §3.2.2: the host of an absolute target replaces the field. HTTP/2 needs no field.
        let host = match facts.uri.authority() {
            Some(authority) => authority.as_str().rsplit('@').next(),
            None => facts.headers.get(HOST).and_then(text),
        };
        let sound = host.filter(|host| is_host(host));
        let name: Cow<'_, str> = match sound {
            Some(host) => without_port(host).into(),
            None if facts.server_addr.is_empty() => "localhost".into(),
            None if facts.server_addr.contains(':') => format!("[{}]", facts.server_addr).into(),
            None => facts.server_addr.into(),
        };
        let default = if facts.scheme == RequestScheme::Https { 443 } else { 80 };
        RequestHost { host, sound, name, port: facts.server_port.unwrap_or(default) }
    }

    /// Adds the URL that the client asked for.
    fn add_url(&self, env: &mut EnvBuilder, scheme: RequestScheme, target: &str) {
        let scheme = if scheme == RequestScheme::Https { "https://" } else { "http://" };
        // `OPTIONS *` concerns the server as a whole.
        let target = if target == "*" { "" } else { target };
        match self.sound {
            Some(host) => env.add_joined("X_FULL_URL", [scheme, host, target]),
            None => {
                let mut digits = itoa::Buffer::new();
                env.add_joined("X_FULL_URL", [scheme, &self.name, ":", digits.format(self.port), target]);
            }
        }
    }
}

/// Reports whether a text is a host with or without a port. All its characters are then harmless in a URL, a page and
/// a shell.
pub fn is_host(text: &str) -> bool {
    let is_of_name = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_of_address = |byte: &&u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let port = match text.as_bytes() {
        [b'[', address @ ..] => match address.split_at(address.iter().take_while(is_of_address).count()) {
            ([_, ..], [b']', port @ ..]) => port,
            _ => return false,
        },
        name => match name.split_at(name.iter().take_while(is_of_name).count()) {
            // `.` is the root of all names. Without its final dot nothing is left, and the host of a URL would be its path.
            (name, port) if name.iter().any(|byte| *byte != b'.') => port,
            _ => return false,
        },
    };
    match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

fn without_port(host: &str) -> &str {
    // An IPv6 address is in brackets and contains colons.
    let from = if host.starts_with('[') { host.find(']').unwrap_or(0) } else { 0 };
    host[from..].find(':').map_or(host, |colon| &host[..from + colon])
}
