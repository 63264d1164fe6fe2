//! Checks the head of one message, line by line.

use http::Uri;
use http::uri::Authority;

use super::text::{NoNumber, is_path_and_query, is_token, number, split};
use crate::cgi::meta;
use crate::http::refusal::Refusal;
use crate::http::wire::host;

/// The limits of a head, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// The whole head.
    pub head: usize,
    /// The request target, in bytes.
    pub target: usize,
    /// The number of header fields.
    pub fields: usize,
    /// Whether the client is on a Unix socket. Some clients then name its path as the host.
    pub is_local: bool,
}

/// The state of the head that is being read.
#[derive(Default)]
pub(super) struct RequestHead {
    /// Bytes of the head, or of the trailers, without the current line.
    pub(super) size: usize,
    /// Whether an empty line came before the head.
    pub(super) after_blank: bool,
    /// Whether the head is complete.
    pub(super) is_whole: bool,
    /// Whether it asks for another protocol.
    pub(super) asks_to_switch: bool,
    fields: usize,
    is_1_0: bool,
    length: Option<u64>,
    is_chunked: bool,
    has_host: bool,
    /// The target, if it names a host.
    target: Option<Box<Uri>>,
}

/// What follows a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BodyKind {
    Nothing,
    /// This many bytes.
    Bytes(u64),
    Chunks,
}

/// hyper's own limit of a field name, in bytes.
const LONGEST_NAME: usize = u16::MAX as usize;

/// Lengths that hyper uses as markers.
const NO_LENGTH: std::ops::RangeInclusive<u64> = u64::MAX - 1..=u64::MAX;

const NO_REQUEST_LINE: &str = "no request line: METHOD TARGET HTTP/1.1";

impl RequestHead {
    /// Checks a request line (RFC 9112 §3): a method, a target and a version, with one space between.
    pub(super) fn request_line(&mut self, line: &[u8], bounds: &HeadLimits) -> Result<(), Refusal> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed(NO_REQUEST_LINE));
        };
        self.is_1_0 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ if version.starts_with(b"HTTP/") => return Err(Refusal::Version),
            _ => return Err(malformed(NO_REQUEST_LINE)),
        };
        self.asked(method, target, bounds)
    }

    /// Reports whether this is a valid request line of HTTP/1.1 for a path, as nearly every one is. Its query then
    /// has no byte to encode. `false` says nothing about the line.
    pub(super) fn is_plain_request(&mut self, line: &[u8], bounds: &HeadLimits) -> bool {
        let Some(asked) = line.strip_suffix(b" HTTP/1.1") else { return false };
        let (method, target) = asked.split_at(asked.iter().take_while(|byte| **byte != b' ').count());
        // No path holds a space.
        matches!(target, [b' ', path @ ..] if path.starts_with(b"/") && self.asked(method, path, bounds).is_ok())
    }

    /// Checks a method and a target.
    fn asked(&mut self, method: &[u8], target: &[u8], bounds: &HeadLimits) -> Result<(), Refusal> {
        if !is_token(method) {
            return Err(malformed("a method that is not a token"));
        }
        if target.len() > bounds.target {
            return Err(Refusal::TargetTooLong(bounds.target));
        }
        // RFC 9110 §9.3.6 and §9.3.8: we offer no tunnel, and an echo would show what proxies have
        // added. hyper ends HTTP after a CONNECT, so the bytes after it could not be checked.
        if matches!(method, b"CONNECT" | b"TRACE") {
            return Err(Refusal::Unsupported("CONNECT and TRACE"));
        }
        match target {
            [b'/', ..] if is_path_and_query(target) => Ok(()),
            [b'/', ..] => {
                Err(malformed("a target with a character that no path or query may have, or with a fragment"))
            }
            b"*" if method == b"OPTIONS" => Ok(()),
            url => self.absolute(url),
        }
    }

    /// Checks a target that is a whole URL (RFC 9112 §3.2.2).
    fn absolute(&mut self, url: &[u8]) -> Result<(), Refusal> {
        // Parsed by `http`, as hyper does. It would cut a fragment off, so a fragment is refused first.
        let target = Uri::try_from(url).ok().filter(|_| !url.contains(&b'#'));
        let is_ours = |target: &Uri| matches!(target.scheme_str(), Some("http" | "https"));
        let Some(target) = target.filter(is_ours) else {
            return Err(malformed("a target that is neither a path nor a URL"));
        };
        if !target.authority().is_some_and(|authority| meta::is_host(authority.as_str())) {
            return Err(malformed(host::NONE));
        }
        self.target = Some(Box::new(target));
        Ok(())
    }

    pub(super) fn field(&mut self, line: &[u8], bounds: &HeadLimits) -> Result<(), Refusal> {
        self.fields += 1;
        if self.fields > bounds.fields {
            return Err(Refusal::HeadTooLarge(format!("more than {} header fields", bounds.fields)));
        }
        let (name, value) = split(line).map_err(malformed)?;
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value, bounds)?,
            // RFC 9110 §10.1.1.
            6 if name.eq_ignore_ascii_case(b"expect") && !value.eq_ignore_ascii_case(b"100-continue") => {
                return Err(Refusal::Expectation);
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.asks_to_switch = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                // RFC 9112 §6.3 allows equal ones to count as one; no client needs to send two.
                if self.length.is_some() {
                    return Err(malformed("more than one Content-Length"));
                }
                self.length = match number(value, 10) {
                    Err(NoNumber::Text) => return Err(malformed("a Content-Length that is not a number")),
                    Err(NoNumber::TooLarge) => return Err(Refusal::BodyTooLarge),
                    Ok(length) if NO_LENGTH.contains(&length) => return Err(Refusal::BodyTooLarge),
                    Ok(length) => Some(length),
                };
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                // RFC 9112 §6.1: an unknown transfer coding is answered with 501.
                if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::Unsupported("a transfer coding other than one `chunked`"));
                }
                self.is_chunked = true;
            }
            length if length > LONGEST_NAME => {
                return Err(Refusal::HeadTooLarge(format!("a name of more than {LONGEST_NAME} bytes")));
            }
            _ => {}
        }
        Ok(())
    }

    /// Checks the host (RFC 9112 §3.2): there is exactly one, and a target with a host names the same.
    fn host(&mut self, value: &[u8], bounds: &HeadLimits) -> Result<(), Refusal> {
        if std::mem::replace(&mut self.has_host, true) {
            return Err(malformed(host::TWO));
        }
        // RFC 9112 §3.2: the field is empty if the client knows no host.
        let may_be = |named: &&str| {
            named.is_empty() || meta::is_host(named) || bounds.is_local && host::is_socket(named)
        };
        let named = str::from_utf8(value).ok().filter(may_be);
        let named = named.ok_or_else(|| malformed(host::NONE))?;
        match self.target.as_deref().and_then(|target| Some((target.authority()?, target.scheme_str()))) {
            Some((authority, scheme)) if !host::same(named, Authority::as_str(authority), scheme) => {
                Err(malformed(host::OTHER))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Ends the head, and returns what follows it.
    pub(super) fn end(&mut self) -> Result<BodyKind, Refusal> {
        self.is_whole = true;
        if !self.has_host && !self.is_1_0 {
            return Err(malformed("HTTP/1.1 without a Host field"));
        }
        match (self.length, self.is_chunked) {
            // RFC 9112 §6.1: this combination is used to smuggle requests.
            (Some(_), true) => Err(malformed("both Content-Length and Transfer-Encoding")),
            (None, true) if self.is_1_0 => Err(malformed("HTTP/1.0 with Transfer-Encoding")),
            (None, true) => Ok(BodyKind::Chunks),
            (None | Some(0), false) => Ok(BodyKind::Nothing),
            (Some(length), false) => Ok(BodyKind::Bytes(length)),
        }
    }
}

/// Makes the refusal of a head or chunk, with this text.
pub(super) fn malformed(what: &str) -> Refusal {
    Refusal::Malformed(what.to_owned())
}
