//! The head of a request as the variables of CGI/1.1 (RFC 3875 §4.1).
//!
//! Floors, lowest first: `variable`; the encoding in this file.

#[cfg(test)]
mod tests;
mod variable;

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use crate::job::Env;

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
    // 19 fixed variables, some captures, and those that TLS and the configuration add later.
    let mut env = Env::with_capacity(facts.headers.keys_len() + 32);
    let origin = RequestHost::of(facts);
    put(&mut env, "GATEWAY_INTERFACE", "CGI/1.1");
    put(&mut env, "SERVER_SOFTWARE", concat!("Portcullis/", env!("CARGO_PKG_VERSION")));
    put(&mut env, "SERVER_PROTOCOL", protocol(facts.version));
    put(&mut env, "SERVER_NAME", &origin.name());
    put(&mut env, "SERVER_PORT", &origin.port.to_string());
    put(&mut env, "REQUEST_METHOD", facts.method.as_str());
    put(&mut env, "SCRIPT_NAME", facts.script_name);
    put(&mut env, "PATH_INFO", facts.path_info);
    // RFC 3875 §4.1.7: set even without a query, to an empty value.
    put(&mut env, "QUERY_STRING", facts.uri.query().unwrap_or_default());
    put(&mut env, "REMOTE_ADDR", facts.remote_addr);
    // RFC 3875 §4.1.9: the address, if the name is not known. A lookup would block.
    put(&mut env, "REMOTE_HOST", facts.remote_addr);
    if let Some(port) = facts.remote_port {
        put(&mut env, "REMOTE_PORT", &port.to_string());
    }
    let target = facts.uri.path_and_query().map_or("/", |target| target.as_str());
    put(&mut env, "REQUEST_URI", target);
    put(&mut env, "REQUEST_ID", facts.request_id);
    put(&mut env, "X_MATCHED_ROUTE", facts.matched_route);
    put(&mut env, "X_FULL_URL", &origin.url(facts.scheme, target));
    if facts.scheme == RequestScheme::Https {
        put(&mut env, "HTTPS", "on");
    }
    if let Some(version) = facts.api_version {
        put(&mut env, "API_VERSION", version);
    }
    for (variable, value) in captures {
        // The catalog has checked the names, which come from the configuration.
        put(&mut env, variable, value);
    }
    fields(&mut env, facts.headers, &origin);
    env
}

/// Sets the variables of the header fields.
fn fields(env: &mut Env, headers: &HeaderMap, origin: &RequestHost<'_>) {
    if let Some(value) = headers.get(CONTENT_TYPE).and_then(text) {
        put(env, "CONTENT_TYPE", value);
    }
    // RFC 3875 §4.1.2: only for a body of known length. A chunked body has none, whatever else the client sends (RFC
    // 9112 §6.3).
    let chunked = headers.contains_key(TRANSFER_ENCODING);
    if let Some(length) = headers.get(CONTENT_LENGTH).and_then(length).filter(|_| !chunked) {
        put(env, "CONTENT_LENGTH", length);
    }
    if let Some(host) = origin.host {
        put(env, "HTTP_HOST", host);
    }
    for name in headers.keys().filter(|name| *name != HOST) {
        let Some(variable) = variable::of(name.as_str()) else { continue };
        let mut values = headers.get_all(name).iter();
        let Some(first) = values.next().and_then(text) else { continue };
        // RFC 9113 §8.2.3 for cookies, RFC 9110 §5.3 for all other fields.
        let between = if name == COOKIE { "; " } else { ", " };
        let Some(second) = values.next() else {
            put(env, &variable, first);
            continue;
        };
        let mut rest = std::iter::once(second).chain(values);
        let joined = rest.try_fold(first.to_owned(), |all, value| Some(all + between + text(value)?));
        if let Some(value) = joined {
            put(env, &variable, &value);
        }
    }
}

/// Adds a variable. The names of all variables are distinct.
fn put(env: &mut Env, name: &str, value: &str) {
    // Fails only if the value contains a NUL, which no guest could receive.
    let _left_out = env.add(name, value);
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
    server_addr: &'a str,
    port: u16,
}

impl<'a> RequestHost<'a> {
    fn of(facts: &Facts<'a>) -> RequestHost<'a> {
        // RFC 9112 §3.2.2: the host of an absolute target replaces the field. HTTP/2 needs no field.
        let host = match facts.uri.authority() {
            Some(authority) => authority.as_str().rsplit('@').next(),
            None => facts.headers.get(HOST).and_then(text),
        };
        let default = if facts.scheme == RequestScheme::Https { 443 } else { 80 };
        RequestHost {
            host,
            sound: host.filter(|host| is_host(host)),
            server_addr: facts.server_addr,
            port: facts.server_port.unwrap_or(default),
        }
    }

    /// Returns the host without its port (RFC 3875 §4.1.14).
    fn name(&self) -> Cow<'a, str> {
        match self.sound {
            Some(host) => without_port(host).into(),
            None if self.server_addr.is_empty() => "localhost".into(),
            None if self.server_addr.contains(':') => format!("[{}]", self.server_addr).into(),
            None => self.server_addr.into(),
        }
    }

    fn url(&self, scheme: RequestScheme, target: &str) -> String {
        let scheme = if scheme == RequestScheme::Https { "https://" } else { "http://" };
        // `OPTIONS *` concerns the server as a whole.
        let target = if target == "*" { "" } else { target };
        match self.sound {
            Some(host) => [scheme, host, target].concat(),
            None => [scheme, &self.name(), ":", &self.port.to_string(), target].concat(),
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
            ([_, ..], port) => port,
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
