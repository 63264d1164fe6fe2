//! Applies to HTTP/2 heads the rules that `wire::h1` enforces for HTTP/1.
//!
//! h2 has decoded the head by then. It resets a stream whose head breaks the rules of HTTP/2, and drops the
//! fragment of a `:path`.

use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Version};

use crate::cgi::meta;
use crate::http::refusal::Refusal;
use crate::http::wire::h1::head::HeadLimits;
use crate::http::wire::host;

/// Bytes that count for a field in addition to its name and value (RFC 9113 §6.5.2).
const BESIDE: usize = 32;

/// Returns the requested host, which was checked. `None` if the client names no host: in HTTP/1.0 it need not, a `Host`
/// may be empty, and clients of a Unix socket may send its path.
pub(in crate::http) fn host(head: &Parts) -> Option<&str> {
    match head.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => {
            let named = head.headers.get(HOST).and_then(|host| host.to_str().ok());
            named.filter(|host| meta::is_host(host))
        }
    }
}

/// Joins the `Cookie` fields of HTTP/2 into one (RFC 9113 §8.2.3): programs read only the first.
pub(super) fn join_crumbs(fields: &mut HeaderMap) {
    if fields.len() == fields.keys_len() {
        // No field is there twice.
        return;
    }
    let crumbs: Vec<&[u8]> = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1 {
        // Valid values joined by a separator are a valid value.
        if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            fields.insert(COOKIE, cookie);
        }
    }
}

/// Refuses a head that has no equivalent in HTTP/1, or whose equivalent is refused there. Passed on as HTTP/1,
/// it could become another request (RFC 9113 §8.1.1). Returns its size in bytes, or 0 for a head of HTTP/1, which
/// is counted as it arrives.
///
/// # Errors
/// See `wire::h1`, which has checked heads of HTTP/1 already; they are not checked again.
pub(in crate::http) fn check(head: &Parts, limits: HeadLimits) -> Result<usize, Refusal> {
    let Parts { method, uri, version, headers, .. } = head;
    if *version != Version::HTTP_2 {
        return Ok(0);
    }
    let malformed = |what: &str| Err(Refusal::Malformed(what.to_owned()));
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > limits.target {
        return Err(Refusal::TargetTooLong(limits.target));
    }
    // The parts of a cookie count as one field (RFC 9113 §8.2.3).
    let crumbs = headers.get_all(COOKIE).iter().count();
    if headers.len() - crumbs.saturating_sub(1) > limits.fields {
        return Err(Refusal::HeadTooLarge(format!("more than {} header fields", limits.fields)));
    }
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + BESIDE);
    let size = target.len() + fields.sum::<usize>();
    if size > limits.head {
        return Err(Refusal::HeadTooLarge(format!("more than {} bytes", limits.head)));
    }
    if matches!(*method, Method::CONNECT | Method::TRACE) {
        return Err(Refusal::Unsupported("CONNECT and TRACE"));
    }
    // Without `:path` and `:authority`, h2 makes an empty target, which reads like `/`.
    let is_path = target.starts_with('/') && !uri.path().is_empty();
    if !(is_path || target == "*" && method == Method::OPTIONS) {
        return malformed("a target that is no path");
    }
    // RFC 9113 §8.3.1. Without an `:authority`, h2 does not pass the scheme on.
    if !matches!(uri.scheme_str(), Some("http" | "https") | None) {
        return malformed("a :scheme that is neither http nor https");
    }
    let is_padded = |value: &HeaderValue| {
        let space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        space(value.as_bytes().first()) || space(value.as_bytes().last())
    };
    // RFC 9113 §8.2.1.
    if headers.values().any(is_padded) {
        return malformed("a header field whose value begins or ends with a space");
    }
    // h2 checks the body against the first, and hyper accepts equal ones.
    if headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return malformed("more than one Content-Length");
    }
    // RFC 9110 §10.1.1.
    if !headers.get_all(EXPECT).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Refusal::Expectation);
    }
    check_host(head)?;
    Ok(size)
}

/// Checks the host (RFC 9113 §8.3.1): there is exactly one, and `:authority` and `Host` agree.
fn check_host(head: &Parts) -> Result<(), Refusal> {
    let Parts { uri, headers, .. } = head;
    let malformed = |what: &str| Err(Refusal::Malformed(what.to_owned()));
    let mut named = headers.get_all(HOST).iter();
    let field = match (named.next(), named.next()) {
        (_, Some(_)) => return malformed(host::TWO),
        (None, None) => None,
        (Some(field), None) => Some(field.to_str().unwrap_or_default()),
    };
    let authority = uri.authority().map(Authority::as_str);
    match (field, authority) {
        (None, None) => malformed("neither :authority nor a Host field"),
        (Some(field), Some(authority)) if !host::same(field, authority, uri.scheme_str()) => {
            malformed(host::OTHER)
        }
        (field, authority) if [field, authority].into_iter().flatten().all(meta::is_host) => Ok(()),
        _ => malformed(host::NONE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    #[test]
    fn the_crumbs_of_a_cookie_are_joined_and_other_repeated_fields_are_not() {
        let fields = |given: &[(&'static str, &'static str)]| {
            let given = given.iter().map(|(name, value)| (*name, *value));
            let given =
                given.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            let mut fields: HeaderMap = given.collect();
            join_crumbs(&mut fields);
            fields
        };

        assert_eq!(fields(&[("cookie", "a=1"), ("cookie", "b=2")])[COOKIE], "a=1; b=2");
        assert_eq!(fields(&[("cookie", "a=1"), ("x", "1"), ("x", "2")]).get_all("x").iter().count(), 2);
        assert_eq!(fields(&[("cookie", "a=1"), ("x", "1")])[COOKIE], "a=1");
    }
}
