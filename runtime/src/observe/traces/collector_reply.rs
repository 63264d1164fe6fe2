//! The response of a collector to spans: whether it is one of OTLP, and which spans it refuses.

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_TYPE;
use prost::Message as _;
use serde_json::Value;

use crate::observe::brief;

/// The most bytes of a collector's reason that are logged.
const WHY: usize = 256;

/// The spans of a request that a collector has refused, though it has taken the request.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct RefusedSpans {
    pub(super) count: usize,
    /// The reason, in one line.
    pub(super) why: String,
}

/// Reads the body of a response with a status of success. Returns the spans that it refuses, if any.
///
/// Its body must be an `ExportTraceServiceResponse` in protobuf, like the request (OTLP specification, OTLP/HTTP
/// Response). Some collectors answer with the same message in JSON, which is read as well. An empty body is the message
/// without any field.
///
/// # Errors
/// The body is something else, so the spans have not reached a collector. A web server with a page for every path answers
/// like that.
pub(super) fn refused(response: &Response<Bytes>) -> Result<Option<RefusedSpans>, String> {
    let body = response.body();
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let essence = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let read = match essence.as_deref() {
        _ if body.is_empty() => return Ok(None),
        None | Some("application/x-protobuf" | "application/protobuf" | "application/octet-stream") => {
            of_protobuf(body)
        }
        Some("application/json") => of_json(body),
        Some(_) => None,
    };
    let refused = read.ok_or_else(|| {
        /// Letters of the content type that are shown.
        const SHOWN: usize = 64;
        let kind: String = kind.unwrap_or("no content type").chars().take(SHOWN).collect();
        format!(
            "it answered {} with a body ({kind}) that is no response of a collector: check the endpoint",
            response.status().as_u16()
        )
    })?;
    Ok((refused.count > 0).then(|| RefusedSpans { why: brief(&refused.why, WHY), ..refused }))
}

/// Reads the message in JSON. `None` if it is something else.
fn of_json(body: &[u8]) -> Option<RefusedSpans> {
    let Value::Object(message) = serde_json::from_slice(body).ok()? else { return None };
    // In the JSON of protobuf, `null` is a field that is not there, and a number of 64 bits is a text.
    let partial = match message.get("partialSuccess") {
        Some(Value::Object(partial)) => partial,
        Some(Value::Null) | None => return Some(RefusedSpans { count: 0, why: String::new() }),
        Some(_) => return None,
    };
    let count = match partial.get("rejectedSpans") {
        Some(Value::String(digits)) => digits.parse().ok()?,
        Some(Value::Null) | None => 0,
        Some(number) => number.as_u64()?,
    };
    let why = partial.get("errorMessage").and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(RefusedSpans { count: usize::try_from(count).unwrap_or(usize::MAX), why })
}

/// `ExportTraceServiceResponse` (opentelemetry-proto, trace_service.proto).
#[derive(Clone, PartialEq, prost::Message)]
struct ReplyMessage {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccessMessage>,
}

/// `ExportTracePartialSuccess`.
#[derive(Clone, PartialEq, prost::Message)]
struct PartialSuccessMessage {
    /// A negative number is taken for a large one.
    #[prost(uint64, tag = "1")]
    rejected_spans: u64,
    /// Not a string: a text that is not UTF-8 is shown as far as it is.
    #[prost(bytes = "vec", tag = "2")]
    error_message: Vec<u8>,
}

/// Reads the message in protobuf. Fields that are not known are skipped. `None` if it is something else.
fn of_protobuf(body: &[u8]) -> Option<RefusedSpans> {
    let PartialSuccessMessage { rejected_spans, error_message } =
        ReplyMessage::decode(body).ok()?.partial_success.unwrap_or_default();
    let count = usize::try_from(rejected_spans).unwrap_or(usize::MAX);
    Some(RefusedSpans { count, why: String::from_utf8_lossy(&error_message).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, body: &[u8]) -> Result<Option<RefusedSpans>, String> {
        let response = Response::builder().header(CONTENT_TYPE, kind);
        refused(&response.body(Bytes::copy_from_slice(body)).unwrap())
    }

    #[test]
    fn the_spans_that_a_response_refuses_are_read_with_the_reason() {
        // `partial_success { rejected_spans: 300, error_message: "full" }`, with a field that is not known.
        let message =
            [&[0x0a_u8, 14, 0x08, 0xac, 0x02, 0x12, 4][..], b"full", &[0x1d, 1, 2, 3, 4][..]].concat();
        let wanted = || Ok(Some(RefusedSpans { count: 300, why: "full".to_owned() }));
        assert_eq!(read("application/x-protobuf", &message), wanted());
        for json in [
            &br#"{"partialSuccess":{"rejectedSpans":"300","errorMessage":"full"}}"#[..],
            br#"{"partialSuccess":{"rejectedSpans":300,"errorMessage":"full"},"other":1}"#,
        ] {
            assert_eq!(read("application/json; charset=utf-8", json), wanted());
        }

        // Nothing, `partial_success {}`, one with a warning alone, and a field that is not known.
        for none in [&[0_u8; 0][..], &[0x0a, 0], &[0x0a, 3, 0x12, 1, b'x'], &[0x10, 7]] {
            assert_eq!(read("application/x-protobuf", none), Ok(None), "{none:?}");
        }
        for none in [
            &b"{}"[..],
            br#"{"partialSuccess":{}}"#,
            br#"{"partialSuccess":null}"#,
            br#"{"partialSuccess":{"rejectedSpans":null,"errorMessage":null}}"#,
        ] {
            assert_eq!(read("application/json", none), Ok(None), "{none:?}");
        }
        let untyped = Response::new(Bytes::from_static(&[0x0a, 2, 0x08, 1]));
        assert_eq!(refused(&untyped).unwrap().map(|refused| refused.count), Some(1));
    }

    #[test]
    fn the_reason_of_a_collector_is_a_short_line() {
        let reason = |why: &str| {
            let json = format!(r#"{{"partialSuccess":{{"rejectedSpans":1,"errorMessage":"{why}"}}}}"#);
            read("application/json", json.as_bytes()).unwrap().unwrap().why
        };

        assert_eq!(reason(r"full\nforged \u001b[2J"), r"full\nforged \u{1b}[2J");
        assert_eq!(reason(&"x".repeat(60_000)), format!("{}…", "x".repeat(WHY)));
    }

    #[test]
    fn a_body_that_is_no_message_of_otlp_is_none_of_a_collector() {
        for (kind, body) in [
            // Cut off, with an end of a group, with a number without an end, with field 0, and with a number for a message.
            ("application/x-protobuf", &[0x0a, 9, 0x08][..]),
            ("application/x-protobuf", &b"taken\n"[..]),
            (
                "application/x-protobuf",
                &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..],
            ),
            ("application/x-protobuf", &[0x00, 1][..]),
            ("application/x-protobuf", &[0x08, 1][..]),
            ("application/x-protobuf", &[0x0a, 2, 0x0a, 0][..]),
            ("application/json", &b"[]"[..]),
            ("application/json", &br#"{"partialSuccess":{"rejectedSpans":"many"}}"#[..]),
            ("application/json", &br#"{"partialSuccess":"none"}"#[..]),
            ("text/html; charset=utf-8", &b"<html>"[..]),
            // As protobuf it would be a field that is not known.
            ("text/plain", &b"accepted\n"[..]),
        ] {
            let error = read(kind, body).unwrap_err();
            assert!(error.contains(kind) && error.contains("it answered 200 "), "{body:?}: {error}");
        }
    }
}
