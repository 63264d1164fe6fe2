//! Turns a refusal into a response: JSON if the client asks for it, plain text otherwise.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use serde_json::json;

use super::rate_limit;
use super::response_body::Body;
use super::upgrade_fields::{self, WEBSOCKET_VERSION};
use crate::catalog::{ErrorPages, ReasonHeader};
use crate::http::refusal::{Details, Refusal};

/// The field with the reason for a refusal, if the configuration asks for it.
const REASON: HeaderName = HeaderName::from_static("x-portcullis-reason");

/// The form of an error response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::http) enum ErrorFormat {
    /// Plain text, or JSON if the client asks for it.
    Negotiated,
    /// JSON.
    Json,
    /// JSON with a message only.
    Message,
}

impl ErrorFormat {
    /// Returns the form of error responses with these pages.
    pub(in crate::http) fn of(pages: &ErrorPages) -> ErrorFormat {
        match pages {
            ErrorPages::Json => ErrorFormat::Json,
            ErrorPages::Message => ErrorFormat::Message,
            ErrorPages::Negotiated | ErrorPages::Pages(_) => ErrorFormat::Negotiated,
        }
    }
}

impl Refusal {
    /// Makes the response: JSON if the client asks for it, plain text otherwise.
    pub(in crate::http) fn into_response(
        self,
        request: &HeaderMap,
        details: Details,
        reason: ReasonHeader,
        format: ErrorFormat,
    ) -> Response<Body> {
        let job = self.job().map(|id| id.to_string());
        let (content_type, text) = if format == ErrorFormat::Message {
            ("application/json", format!("{}\n", json!({"message": self.message(details)})))
        } else if format == ErrorFormat::Json || wants_json(request) {
            let body = json!({"error": self.code(), "message": self.message(details), "job": job});
            // Without parameters: clients compare the type with the one they know.
            ("application/json", format!("{body}\n"))
        } else {
            let job = job.map(|id| format!("job {id}: ")).unwrap_or_default();
            ("text/plain; charset=utf-8", format!("{job}{}\n", self.message(details)))
        };
        let mut response = Response::new(Body::full(Bytes::from(text)));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if reason == ReasonHeader::Present {
            headers.insert(REASON, HeaderValue::from_static(self.code()));
        }
        if self.closes() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(retry_after) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
        }
        self.add_fields(headers);
        response
    }

    /// Adds the fields that only this kind of refusal has.
    fn add_fields(&self, headers: &mut HeaderMap) {
        match self {
            Refusal::WrongMethod(allow) => {
                // The names of methods are tokens, which are valid values.
                headers.extend(HeaderValue::from_str(allow).ok().map(|allow| (ALLOW, allow)));
            }
            Refusal::Range(length) => {
                // RFC 9110 §15.5.17.
                let range = HeaderValue::try_from(format!("bytes */{length}"));
                headers.extend(range.ok().map(|range| (CONTENT_RANGE, range)));
            }
            Refusal::UpgradeRequired(protocol) => headers.extend(upgrade_fields::of(protocol)),
            Refusal::WebSocketVersion => {
                // RFC 6455 §4.4.
                headers.extend(upgrade_fields::of("websocket"));
                headers.insert(SEC_WEBSOCKET_VERSION, WEBSOCKET_VERSION);
            }
            Refusal::RateLimited(exceeded) => headers.extend(rate_limit::fields(exceeded)),
            Refusal::Unauthorized(challenge) => {
                headers.insert(WWW_AUTHENTICATE, challenge.clone());
            }
            Refusal::AccessDenied
            | Refusal::Malformed(_)
            | Refusal::Unsupported(_)
            | Refusal::TargetTooLong(_)
            | Refusal::HeadTooLarge(_)
            | Refusal::BodyTooLarge
            | Refusal::Version
            | Refusal::NotTls
            | Refusal::UnexpectedTls
            | Refusal::ProxyHeader
            | Refusal::Flood
            | Refusal::Expectation
            | Refusal::Loop
            | Refusal::NoRoute
            | Refusal::ApiVersion(_)
            | Refusal::NoFile
            | Refusal::Precondition
            | Refusal::NoJob(_)
            | Refusal::Rejected(..)
            | Refusal::Forbidden(_)
            | Refusal::Internal
            | Refusal::Occupied(_)
            | Refusal::Failed(..) => {}
        }
    }
}

/// Reports whether the client names JSON in `Accept` and does not name text before it. What it refuses does not count.
fn wants_json(request: &HeaderMap) -> bool {
    let accept = request.get_all(http::header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges = accept.flat_map(|value| value.split(',')).filter(|range| !is_refused(range));
    let mut ranges = ranges.filter_map(|range| range.split(';').next());
    ranges
        .find_map(|range| match range.trim() {
            range if range.eq_ignore_ascii_case("application/json") => Some(true),
            range if range.get(..5).is_some_and(|family| family.eq_ignore_ascii_case("text/")) => Some(false),
            _ => None,
        })
        .unwrap_or(false)
}

/// Reports whether a client refuses a media range: its weight is 0 (RFC 9110 §12.4.2).
fn is_refused(range: &str) -> bool {
    let parameters = range.split(';').skip(1).filter_map(|parameter| parameter.trim().split_once('='));
    let mut weights = parameters.filter(|(name, _)| name.eq_ignore_ascii_case("q"));
    weights.any(|(_, weight)| weight.parse::<f64>() == Ok(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_for_clients_that_ask_for_it_first() {
        let wants = |accept: &'static str| {
            wants_json(&HeaderMap::from_iter([(http::header::ACCEPT, HeaderValue::from_static(accept))]))
        };
        assert!(wants("application/json"));
        assert!(wants("image/png, Application/JSON;q=0.9"));
        assert!(!wants("text/html, application/json"));
        assert!(!wants("*/*"));
        assert!(!wants("application/json;q=0") && !wants("application/json; Q=0.000, */*"), "it is refused");
        assert!(wants("text/html;q=0, application/json;q=0.1"));
        assert!(!wants_json(&HeaderMap::new()));
    }
}
