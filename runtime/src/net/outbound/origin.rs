//! Origins of outbound requests and the patterns that allow them: `SCHEME://HOST:PORT`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::net::endpoint::Host;

/// The part of a URL that identifies a server. The spelling is canonical: names in lower case, addresses as the
/// standard library writes them, and the port always present.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Origin {
    /// The protocol.
    pub scheme: Scheme,
    /// The host. A server's certificate is checked against it.
    pub host: Host,
    /// The port, never 0.
    pub port: u16,
}

/// The protocol of a URL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    /// In clear.
    Http,
    /// Over TLS.
    Https,
}

/// An entry in the list of allowed origins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    scheme: Scheme,
    hosts: Hosts,
    port: u16,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Hosts {
    One(Host),
    /// `*.example.org`: every name with exactly one label more.
    Below(String),
}

/// Why a text is no origin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OriginError(&'static str);

impl Origin {
    /// Parses the part of a URL between `SCHEME://` and the path.
    ///
    /// # Errors
    /// User information, an invalid port, or a host in an unusual spelling. Resolvers read `0177.1` and `2130706433`
    /// as addresses, so such names must never reach a resolver.
    pub fn new(scheme: Scheme, authority: &str) -> Result<Origin, OriginError> {
        if authority.contains('@') {
            return Err(OriginError("a user name or password has no place in a URL"));
        }
        let (host, port) = split(authority)?;
        Ok(Origin { scheme, host: self::host(host)?, port: self::port(port, scheme)? })
    }

    /// Returns the address, or `None` if a name has to be looked up.
    pub fn address(&self) -> Option<IpAddr> {
        match &self.host {
            Host::Ip(ip) => Some(*ip),
            Host::Name(_) => None,
        }
    }

    /// Returns host and port as in the field `Host`: the default port is left out (RFC 9110 §7.2).
    pub fn authority(&self) -> String {
        Shown { host: &self.host, port: self.port, scheme: self.scheme }.to_string()
    }
}

impl Scheme {
    fn read(text: &str) -> Option<Scheme> {
        match text {
            _ if text.eq_ignore_ascii_case("http") => Some(Scheme::Http),
            _ if text.eq_ignore_ascii_case("https") => Some(Scheme::Https),
            _ => None,
        }
    }

    fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

impl Pattern {
    /// Reports whether this entry allows an origin.
    pub fn allows(&self, origin: &Origin) -> bool {
        let host = match (&self.hosts, &origin.host) {
            (Hosts::One(one), host) => one == host,
            (Hosts::Below(parent), Host::Name(name)) => {
                name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent)
            }
            (Hosts::Below(_), Host::Ip(_)) => false,
        };
        host && self.scheme == origin.scheme && self.port == origin.port
    }

    /// Returns the address that the entry names, or `None` if it names a host to look up.
    pub fn address(&self) -> Option<IpAddr> {
        match &self.hosts {
            Hosts::One(Host::Ip(ip)) => Some(*ip),
            Hosts::One(Host::Name(_)) | Hosts::Below(_) => None,
        }
    }
}

impl FromStr for Pattern {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Pattern, OriginError> {
        let wanted = OriginError("write https://HOST, http://HOST:PORT or https://*.HOST");
        let (scheme, authority) = text.split_once("://").ok_or(wanted.clone())?;
        let scheme = Scheme::read(scheme).ok_or(wanted)?;
        if authority.contains(['/', '?', '#']) {
            return Err(OriginError("an origin is allowed as a whole: leave out the path and its slash"));
        }
        let below = authority.strip_prefix("*.");
        let Origin { host, port, .. } = Origin::new(scheme, below.unwrap_or(authority))?;
        let hosts = match (below, host) {
            (None, host) => Hosts::One(host),
            (Some(_), Host::Name(name)) => Hosts::Below(name),
            (Some(_), Host::Ip(_)) => {
                return Err(OriginError("`*.` is followed by a name, not by an address"));
            }
        };
        Ok(Pattern { scheme, hosts, port })
    }
}

fn split(authority: &str) -> Result<(&str, Option<&str>), OriginError> {
    let (host, rest) = match authority.find(']') {
        Some(end) => authority.split_at(end + 1),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err(OriginError("write a colon between host and port")),
    }
}

fn port(text: Option<&str>, scheme: Scheme) -> Result<u16, OriginError> {
    let Some(text) = text else { return Ok(scheme.port()) };
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let port = plain.then(|| text.parse().ok()).flatten();
    port.ok_or(OriginError("a port is a number from 1 to 65535"))
}

fn host(text: &str) -> Result<Host, OriginError> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
        return inner
            .map(|ip| Host::Ip(ip.into()))
            .ok_or(OriginError("write an IPv6 address in brackets, without a zone"));
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(ip.into()));
    }
    let label = |label: &str| {
        // RFC 1035 §2.3.4: a label has 63 octets at most.
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    // RFC 1035 §2.3.4: 255 octets on the wire, which are 253 characters in writing.
    if text.len() > 253 || !text.split('.').all(label) {
        return Err(OriginError("a host is a name of letters, digits, - and _, or an address"));
    }
    // inet_aton(3) accepts octal, hexadecimal and incomplete addresses. A host name does not end in such a label.
    if text.rsplit('.').next().is_some_and(|last| last.starts_with(|first: char| first.is_ascii_digit())) {
        return Err(OriginError("an IPv4 address is four decimal numbers"));
    }
    Ok(Host::Name(text.to_ascii_lowercase()))
}

/// A host and port, without the default port.
struct Shown<'a> {
    host: &'a Host,
    port: u16,
    scheme: Scheme,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}")?,
            Host::Name(name) => f.write_str(name)?,
        }
        if self.port == self.scheme.port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// In the form that [`Pattern`] reads: `https://api.example.org`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { scheme, host, port } = self;
        write!(f, "{scheme}://{}", Shown { host, port: *port, scheme: *scheme })
    }
}

/// In the form that `FromStr` reads.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pattern { scheme, hosts, port } = self;
        match hosts {
            Hosts::One(host) => write!(f, "{scheme}://{}", Shown { host, port: *port, scheme: *scheme }),
            Hosts::Below(name) => {
                let host = Host::Name(format!("*.{name}"));
                write!(f, "{scheme}://{}", Shown { host: &host, port: *port, scheme: *scheme })
            }
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        })
    }
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for OriginError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origin(authority: &str) -> Result<Origin, OriginError> {
        Origin::new(Scheme::Http, authority)
    }

    #[test]
    fn one_server_has_one_spelling() {
        for (written, read) in [
            ("Example.ORG", "http://example.org"),
            ("example.org:80", "http://example.org"),
            ("example.org:443", "http://example.org:443"),
            ("[0:0:0::1]:8080", "http://[::1]:8080"),
            ("[::FFFF:127.0.0.1]", "http://[::ffff:127.0.0.1]"),
            ("127.0.0.1", "http://127.0.0.1"),
        ] {
            assert_eq!(origin(written).unwrap().to_string(), read, "{written}");
        }
    }

    #[test]
    fn odd_spellings_are_no_origins() {
        for written in [
            "",
            ":80",
            "a:",
            "a:0",
            "a:080",
            "a:+80",
            "a:65536",
            "a:b",
            "a@b",
            "a:b@c",
            "@a",
            "a b",
            "a..b",
            ".",
            "a.",
            "%31",
            "2130706433",
            "0177.0.0.1",
            "127.1",
            "127.0.0.1.",
            "0x7f000001",
            "127.0.0.0x1",
            "1.2.3",
            "[::1",
            "[::1]x",
            "[::1%251]",
            "[::1%lo]",
            "[127.0.0.1]",
            "::1",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "\u{e9}",
            "\u{2460}",
        ] {
            assert!(origin(written).is_err(), "{written:?} was accepted as {:?}", origin(written));
        }
    }

    #[test]
    fn an_entry_allows_its_scheme_host_and_port_and_nothing_else() {
        let allows = |pattern: &str, url: &str| {
            let (scheme, authority) = url.split_once("://").unwrap();
            let origin = Origin::new(Scheme::read(scheme).unwrap(), authority).unwrap();
            pattern.parse::<Pattern>().unwrap().allows(&origin)
        };
        assert!(allows("https://api.example.org", "https://API.example.org:443"));
        assert!(!allows("https://api.example.org", "http://api.example.org"));
        assert!(!allows("https://api.example.org", "https://api.example.org:8443"));
        assert!(!allows("https://api.example.org", "https://evil-api.example.org"));
        assert!(!allows("https://api.example.org", "https://api.example.org.evil"));
        assert!(allows("https://*.example.org", "https://a.example.org"));
        assert!(!allows("https://*.example.org", "https://a.b.example.org"));
        assert!(!allows("https://*.example.org", "https://example.org"));
        assert!(!allows("https://*.example.org", "https://aexample.org"));
        assert!(!allows("http://127.0.0.1", "http://[::ffff:127.0.0.1]"));
    }

    #[test]
    fn what_is_no_entry_is_refused_with_advice() {
        for written in [
            "",
            "*",
            "https://",
            "https://*",
            "api.example.org",
            "ftp://a",
            "https://a/",
            "https://a/b",
            "https://a?b",
            "https://*.10.0.0.1",
            "https://*.*.a",
            "https://a.*",
            "https://u@a",
            "https://a:0",
        ] {
            assert!(written.parse::<Pattern>().is_err(), "{written:?} was accepted");
        }
        let refusal = "https://a/".parse::<Pattern>().unwrap_err().to_string();
        assert_eq!(refusal, "an origin is allowed as a whole: leave out the path and its slash");
    }

    proptest! {
        #[test]
        fn any_authority_is_read_or_refused_without_panic(text in ".{0,40}") {
            if let Ok(origin) = origin(&text) {
                // The log advises an entry; it must allow this origin.
                prop_assert!(origin.to_string().parse::<Pattern>().unwrap().allows(&origin));
            }
        }

        #[test]
        fn an_entry_survives_being_printed(text in "https?://(\\*\\.)?[a-z][a-z0-9-]{0,9}(\\.[a-z]{1,9}){0,3}(:[1-9][0-9]{0,3})?") {
            let pattern: Pattern = text.parse().unwrap();
            prop_assert_eq!(pattern.to_string().parse::<Pattern>().unwrap(), pattern);
        }
    }
}
