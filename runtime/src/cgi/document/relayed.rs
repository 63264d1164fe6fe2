//! Checks a head that a `wasi:http` handler sent as fields instead of text, and its trailers.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, TRAILER};
use http::{HeaderValue, StatusCode};

use super::field::{DocumentError, is_ours};
use super::head::{CgiHead, allowed, length, single};

impl CgiHead {
    /// Checks a status and fields by the rules for a written head. Fields that only the daemon may send are dropped,
    /// and invalid ones are refused. `Trailer` stays: it announces fields after the body, which a handler that writes
    /// text cannot send.
    ///
    /// # Errors
    /// A status that a handler may not send, a field that is repeated but may appear once, or an invalid length.
    pub fn relayed(status: StatusCode, mut headers: HeaderMap) -> Result<CgiHead, DocumentError> {
        if !allowed(status) {
            return Err(DocumentError::Status(format!("{:?}", status.as_str())));
        }
        drop_all(&mut headers, |name| is_ours(name) && name != TRAILER);
        let mut content_length = None;
        for name in [CONTENT_TYPE, CONTENT_LENGTH, LOCATION] {
            let mut values = headers.get_all(&name).iter();
            let first = values.next();
            if let (Some(shown), Some(_)) = (single(&name), values.next()) {
                return Err(DocumentError::Repeated(shown));
            }
            if name == CONTENT_LENGTH {
                content_length = first.map(length).transpose()?;
            }
        }
        Ok(CgiHead { status, headers, content_length })
    }
}

/// Removes from the trailers of a request or response the fields that may not appear there. These frame, route or
/// authenticate a message, change its meaning or its response, or say how to read the body (RFC 9110 §6.5.1).
pub fn trailers(mut fields: HeaderMap) -> HeaderMap {
    drop_all(&mut fields, |name| {
        let text = name.as_str();
        is_ours(name)
            || HEAD_ONLY.contains(&text)
            || HEAD_ONLY_KINDS.iter().any(|start| text.starts_with(start))
    });
    fields
}

/// Fields that are meaningful only in a head.
const HEAD_ONLY: [&str; 31] = [
    "accept-encoding",
    "age",
    "authorization",
    "cache-control",
    "cdn-loop",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "expires",
    "forwarded",
    "host",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "set-cookie",
    "status",
    "strict-transport-security",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-real-ip",
];

/// Prefixes of further such fields.
const HEAD_ONLY_KINDS: [&str; 4] = ["access-control-", "if-", "sec-", "x-forwarded-"];

/// Removes every field whose name matches.
fn drop_all(headers: &mut HeaderMap<HeaderValue>, named: impl Fn(&HeaderName) -> bool) {
    let dropped: Vec<HeaderName> = headers.keys().filter(|name| named(name)).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut fields = HeaderMap::new();
        for (name, value) in lines.iter().map(pair) {
            fields.append(name, value);
        }
        fields
    }

    #[test]
    fn what_is_the_daemons_to_say_is_dropped_and_the_rest_is_kept() {
        let given = fields(&[
            ("connection", "close"),
            ("date", "now"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("trailer", "x-sum"),
            ("content-length", "7"),
        ]);

        let head = CgiHead::relayed(StatusCode::OK, given).unwrap();

        let kept =
            [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("trailer", "x-sum"), ("content-length", "7")];
        assert_eq!(head.headers, fields(&kept));
        assert_eq!(head.content_length, Some(7));
    }

    #[test]
    fn a_head_that_could_be_read_in_two_ways_is_refused() {
        let refused = |status: u16, lines: &[(&'static str, &'static str)]| {
            CgiHead::relayed(StatusCode::from_u16(status).unwrap(), fields(lines)).unwrap_err()
        };
        assert_eq!(refused(101, &[]), DocumentError::Status("\"101\"".into()));
        assert_eq!(refused(600, &[]), DocumentError::Status("\"600\"".into()));
        let twice = [("content-length", "7"), ("content-length", "7")];
        assert_eq!(refused(200, &twice), DocumentError::Repeated("Content-Length"));
        assert_eq!(refused(200, &[("content-length", "+7")]), DocumentError::Length("\"+7\"".into()));
    }

    #[test]
    fn trailers_do_not_frame_or_route_or_authenticate() {
        let dropped = ["content-length", "set-cookie", "te", "host", "cookie", "x-forwarded-for", "if-match"];
        for name in dropped {
            assert_eq!(trailers(fields(&[(name, "7"), ("x-sum", "9")])), fields(&[("x-sum", "9")]), "{name}");
        }
        let kept =
            fields(&[("grpc-status", "0"), ("server-timing", "a;dur=1"), ("digest", "x"), ("iffy", "y")]);
        assert_eq!(trailers(kept.clone()), kept);
    }

    #[test]
    fn what_the_daemon_says_of_an_answer_no_handler_says() {
        let forged = [("x-portcullis-version", "a@b"), ("x-portcullis-reason", "internal"), ("x-a", "1")];

        let head = CgiHead::relayed(StatusCode::OK, fields(&forged)).unwrap();

        assert_eq!(head.headers, fields(&[("x-a", "1")]));
        assert_eq!(trailers(fields(&forged)), fields(&[("x-a", "1")]));
    }
}
