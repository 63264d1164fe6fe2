//! Reads `Forwarded` (RFC 7239) and `X-Forwarded-For/Proto/Host` from the right, as far as proxies are trusted.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderMap, HeaderName};

use super::address_set::AddressSet;

/// The most trusted proxies in a row. A longer chain is a loop of proxies, or an attempt to make the daemon work.
pub const HOPS: usize = 32;

const FORWARDED: HeaderName = http::header::FORWARDED;
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What trusted proxies report about a request.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Forwarding {
    /// The address of the client, and its port if it is known. `None` if they name no address: then the client
    /// counts as the proxy that connected.
    pub client: Option<(IpAddr, Option<u16>)>,
    /// Whether a proxy hides the address of its client. Then `client` is at best a proxy before it.
    pub is_hidden: bool,
    /// The scheme of the request as the client sent it.
    pub scheme: Option<ForwardedScheme>,
    /// The host that the client asked for. It is text of the proxy and not yet checked.
    pub host: Option<String>,
}

/// The scheme of a request before it came to a proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForwardedScheme {
    /// In clear.
    Http,
    /// Over TLS.
    Https,
}

/// Why the fields of a trusted proxy cannot be read in one way only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnclearForwarding(String);

impl fmt::Display for UnclearForwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The client of a proxy, as that proxy names it.
#[derive(Clone, Copy)]
enum NamedClient {
    Address(IpAddr, Option<u16>),
    /// `unknown`, or an identifier such as `_hidden`: there is an address, and it is not told.
    Hidden,
}

/// What one kind of fields says.
#[derive(Default)]
struct ForwardedReport {
    client: Option<NamedClient>,
    /// A believed element hides the client.
    is_hidden: bool,
    scheme: Option<ForwardedScheme>,
    host: Option<String>,
}

impl Forwarding {
    /// Reads the fields of a request that came from a trusted proxy.
    ///
    /// The last element of a list was written by that proxy, so it is believed. The element before it is believed if
    /// the last one names a trusted proxy, and so on. Whatever stands further left is not even parsed: the client wrote
    /// it.
    ///
    /// # Errors
    /// A believed element is malformed, the chain has more than [`HOPS`] proxies, or `Forwarded` and `X-Forwarded-*`
    /// contradict each other, or only one of the two names a fact. The proxy passed on one of them as the client sent
    /// it, and nobody can tell which.
    pub fn read(fields: &HeaderMap, trusted: &AddressSet) -> Result<Forwarding, UnclearForwarding> {
        let customary = [&FORWARDED_FOR, &FORWARDED_PROTO, &FORWARDED_HOST];
        let is_customary = customary.iter().any(|name| fields.contains_key(*name));
        let read = match (fields.contains_key(FORWARDED), is_customary) {
            (false, false) => ForwardedReport::default(),
            (true, false) => ForwardedReport::standard(fields, trusted)?,
            (false, true) => ForwardedReport::customary(fields, trusted)?,
            (true, true) => ForwardedReport::standard(fields, trusted)?
                .agreed(ForwardedReport::customary(fields, trusted)?)?,
        };
        let client = read.client.and_then(|client| match client {
            NamedClient::Address(address, port) => Some((address, port)),
            NamedClient::Hidden => None,
        });
        Ok(Forwarding { client, is_hidden: read.is_hidden, scheme: read.scheme, host: read.host })
    }
}

impl ForwardedReport {
    /// Reads `Forwarded`.
    fn standard(fields: &HeaderMap, trusted: &AddressSet) -> Result<ForwardedReport, UnclearForwarding> {
        let (mut read, mut hops) = (ForwardedReport::default(), 0);
        for line in fields.get_all(FORWARDED).iter().rev() {
            let mut rest = line.to_str().map_err(|_| malformed("Forwarded", "bytes that are not text"))?;
            while !rest.is_empty() {
                let (before, element) = last_element(rest)?;
                rest = before;
                if element.trim().is_empty() {
                    // RFC 9110 §5.6.1.2: a list may have empty elements.
                    continue;
                }
                let element = ForwardedReport::element(element)?;
                read.scheme = element.scheme.or(read.scheme);
                read.host = element.host.or(read.host);
                if !read.goes_on(element.client, &mut hops, trusted)? {
                    return Ok(read);
                }
            }
        }
        Ok(read)
    }

    /// Reads `X-Forwarded-For`, `-Proto` and `-Host`. Of the latter two, the last value counts: the nearest proxy wrote
    /// it.
    fn customary(fields: &HeaderMap, trusted: &AddressSet) -> Result<ForwardedReport, UnclearForwarding> {
        let mut read = ForwardedReport {
            client: None,
            is_hidden: false,
            scheme: last_value(fields, &FORWARDED_PROTO)?.map(scheme).transpose()?,
            host: last_value(fields, &FORWARDED_HOST)?.map(str::to_owned),
        };
        let mut hops = 0;
        for value in values(fields, &FORWARDED_FOR) {
            let value = value?;
            let client =
                client(value, Brackets::Optional).ok_or_else(|| malformed("X-Forwarded-For", value))?;
            if !read.goes_on(Some(client), &mut hops, trusted)? {
                break;
            }
        }
        Ok(read)
    }

    /// Takes the client that a proxy names. Returns whether that client is a trusted proxy itself.
    fn goes_on(
        &mut self,
        named: Option<NamedClient>,
        hops: &mut usize,
        trusted: &AddressSet,
    ) -> Result<bool, UnclearForwarding> {
        match named {
            Some(client @ NamedClient::Address(address, _)) => {
                self.client = Some(client);
                *hops += 1;
                match trusted.contains(Some(address)) {
                    true if *hops >= HOPS => Err(too_many()),
                    is_proxy => Ok(is_proxy),
                }
            }
            Some(NamedClient::Hidden) => {
                // The last address that was named stands for all behind it.
                self.client = self.client.or(named);
                self.is_hidden = true;
                Ok(false)
            }
            None => Ok(false),
        }
    }

    /// Keeps what both kinds of fields say. A client that only one kind names is refused. The field may have come from the
    /// client, passed on by a proxy that writes the other kind. If it were left out, the client would count as the proxy.
    fn agreed(self, other: ForwardedReport) -> Result<ForwardedReport, UnclearForwarding> {
        let is_same = |one: &NamedClient, other: &NamedClient| match (one, other) {
            (NamedClient::Address(one, _), NamedClient::Address(other, _)) => one == other,
            (NamedClient::Hidden, NamedClient::Hidden) => true,
            (NamedClient::Address(..), NamedClient::Hidden)
            | (NamedClient::Hidden, NamedClient::Address(..)) => false,
        };
        Ok(ForwardedReport {
            client: agreed(self.client, other.client, is_same, "client")?,
            is_hidden: self.is_hidden || other.is_hidden,
            scheme: agreed(self.scheme, other.scheme, PartialEq::eq, "scheme")?,
            host: agreed(self.host, other.host, |one, other| one.eq_ignore_ascii_case(other), "host")?,
        })
    }

    /// Reads an element of `Forwarded`: `for=192.0.2.7;proto=https;host=a.example`. Parameters of other names are left
    /// out.
    fn element(text: &str) -> Result<ForwardedReport, UnclearForwarding> {
        let wrong = || malformed("Forwarded", text);
        let (mut element, mut known, mut rest) = (ForwardedReport::default(), Vec::new(), text.trim());
        while !rest.is_empty() {
            if let Some(behind) = rest.strip_prefix(';') {
                rest = behind.trim_start();
                continue;
            }
            let (name, behind) = rest.split_once('=').ok_or_else(wrong)?;
            let (value, behind) = parameter(behind).ok_or_else(wrong)?;
            rest = behind.trim_start();
            if !rest.is_empty() && !rest.starts_with(';') {
                return Err(wrong());
            }
            let name = name.trim().to_ascii_lowercase();
            // RFC 7239 §4: each parameter at most once.
            if known.contains(&name) || known.len() == PARAMETERS {
                return Err(wrong());
            }
            match name.as_str() {
                "for" => element.client = Some(client(&value, Brackets::Required).ok_or_else(wrong)?),
                "proto" => element.scheme = Some(scheme(&value)?),
                "host" => element.host = Some(value),
                _ => {}
            }
            known.push(name);
        }
        Ok(element)
    }
}

/// The most parameters of an element. RFC 7239 has four, and a registry for more.
const PARAMETERS: usize = 16;

/// Joins a fact that both kinds of fields say, or neither.
fn agreed<T>(
    one: Option<T>,
    other: Option<T>,
    same: impl Fn(&T, &T) -> bool,
    what: &str,
) -> Result<Option<T>, UnclearForwarding> {
    let told = match (one, other) {
        (None, None) => return Ok(None),
        (Some(one), Some(other)) if same(&one, &other) => return Ok(Some(one)),
        (Some(_), Some(_)) => format!("Forwarded and X-Forwarded-* name different {what}s"),
        (Some(_), None) => format!("Forwarded names a {what}, and X-Forwarded-* beside it none"),
        (None, Some(_)) => format!("X-Forwarded-* names a {what}, and Forwarded beside it none"),
    };
    Err(UnclearForwarding(format!("{told}: let the proxy remove those that it does not write")))
}

/// Iterates over the values of a list field, the last one first. Empty values are left out.
fn values<'f>(
    fields: &'f HeaderMap,
    name: &'f HeaderName,
) -> impl Iterator<Item = Result<&'f str, UnclearForwarding>> {
    let lines = fields.get_all(name).iter().rev();
    lines.flat_map(move |line| {
        let text = line.to_str();
        let unreadable = text.is_err().then(|| Err(malformed(name.as_str(), "bytes that are not text")));
        let values = text.unwrap_or_default().rsplit(',').map(str::trim).filter(|value| !value.is_empty());
        values.map(Ok).chain(unreadable)
    })
}

fn last_value<'f>(fields: &'f HeaderMap, name: &'f HeaderName) -> Result<Option<&'f str>, UnclearForwarding> {
    values(fields, name).next().transpose()
}

/// Splits the last element off a list. Parsed from its end, because text before the last element is the client's, which
/// may leave a quotation open.
fn last_element(text: &str) -> Result<(&str, &str), UnclearForwarding> {
    let bytes = text.as_bytes();
    let mut quoted = false;
    for at in (0..bytes.len()).rev() {
        match bytes[at] {
            b'"' => {
                let escapes = bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
                // RFC 9110 §5.6.4: within a quotation, a backslash escapes. Outside there is none.
                if !quoted || escapes % 2 == 0 {
                    quoted = !quoted;
                }
            }
            b',' if !quoted => return Ok((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    if quoted { Err(malformed("Forwarded", "an open quotation")) } else { Ok(("", text)) }
}

/// Reads a token or a quoted string, and returns the text behind it.
fn parameter(text: &str) -> Option<(String, &str)> {
    let Some(inside) = text.strip_prefix('"') else {
        // Colons and brackets need quotes (RFC 7239 §4), but without them there is no other reading.
        let end = text.find([';', '"', ',', ' ', '\t']).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let (mut value, mut letters) = (String::new(), inside.char_indices());
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &inside[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None
}

/// Whether an IPv6 address must be in brackets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Brackets {
    /// RFC 7239 §6.
    Required,
    /// Most proxies leave them out in `X-Forwarded-For`.
    Optional,
}

/// Reads an address with or without a port, or an identifier that hides it (RFC 7239 §6). A port that is no number is
/// left out, such as the identifier `_port`.
fn client(text: &str, brackets: Brackets) -> Option<NamedClient> {
    let hidden = |text: &str| {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        text.eq_ignore_ascii_case("unknown") || text.starts_with('_') && text.bytes().all(named)
    };
    if let Some(inside) = text.strip_prefix('[') {
        let (address, behind) = inside.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        return Some(NamedClient::Address(IpAddr::V6(address).to_canonical(), port(behind)?));
    }
    if let Some(address) = text.parse::<Ipv6Addr>().ok().filter(|_| brackets == Brackets::Optional) {
        return Some(NamedClient::Address(IpAddr::V6(address).to_canonical(), None));
    }
    let (name, behind) = text.split_at(text.find(':').unwrap_or(text.len()));
    let port = port(behind)?;
    match name.parse() {
        Ok(address) => Some(NamedClient::Address(IpAddr::V4(address), port)),
        Err(_) => hidden(name).then_some(NamedClient::Hidden),
    }
}

/// Reads `:4711`, `:_hidden` or nothing. `None` if it is anything else.
fn port(text: &str) -> Option<Option<u16>> {
    match text.strip_prefix(':') {
        None => text.is_empty().then_some(None),
        Some(hidden) if hidden.starts_with('_') => Some(None),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok().map(Some),
        Some(_) => None,
    }
}

fn scheme(text: &str) -> Result<ForwardedScheme, UnclearForwarding> {
    let is = |names: [&str; 2]| names.iter().any(|name| text.eq_ignore_ascii_case(name));
    match text {
        // Traefik names the scheme of a WebSocket.
        _ if is(["https", "wss"]) => Ok(ForwardedScheme::Https),
        _ if is(["http", "ws"]) => Ok(ForwardedScheme::Http),
        _ => Err(UnclearForwarding(format!(
            "a proxy reports the scheme {:?}: wanted http or https",
            text.chars().take(48).collect::<String>()
        ))),
    }
}

fn malformed(field: &str, found: &str) -> UnclearForwarding {
    let found: String = found.trim().chars().take(48).collect();
    UnclearForwarding(format!("{field} of a proxy: wanted the address of a client, found {found:?}"))
}

fn too_many() -> UnclearForwarding {
    UnclearForwarding(format!("more than {HOPS} trusted proxies in a row: look for a loop among them"))
}

#[cfg(test)]
mod tests;
