//! The one table from what went wrong to what the client is told.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;

use super::response_body::Body;
use super::upgrade;
use crate::catalog::ReasonHeader;
use crate::job::{Fault, JobId, StopReason};

/// Says why a request failed, if the configuration wants it said.
const REASON: HeaderName = HeaderName::from_static("x-portcullis-reason");

/// A request that was answered without a job, or whose job gave no answer.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The request cannot be understood: what is wrong with it.
    Malformed(String),
    /// The request asks for what no handler can give: a tunnel, an echo of itself, an unknown coding.
    Unsupported(&'static str),
    /// The target is longer than this many bytes.
    TargetTooLong(usize),
    /// The head is larger than is read: which part of it.
    HeadTooLarge(String),
    /// The body is longer than any that is taken.
    BodyTooLarge,
    /// The version of HTTP is not spoken here.
    Version,
    /// The port speaks TLS, the client does not.
    NotTls,
    /// The client sends frames that ask for work, and for no answer.
    Flood,
    /// The client expects what is not known.
    Expectation,
    /// The request has come back to this daemon too often.
    Loop,
    /// No route matches.
    NoRoute,
    /// The path has routes, but for these methods only.
    WrongMethod(String),
    /// The route is for clients that change over to this protocol.
    UpgradeRequired(&'static str),
    /// The WebSocket is of another version than there is.
    WebSocketVersion,
    /// The job of this number failed.
    Failed(JobId, Fault),
    /// No job has this name.
    NoJob(String),
    /// The built-in job of this number said no: what it said.
    Rejected(JobId, String),
    /// Whoever asks may not: why.
    Forbidden(&'static str),
    /// The daemon panicked before there was a job.
    Internal,
    /// So many requests of this kind are answered that it would be one too many: what to do.
    Occupied(&'static str),
}

/// Whether whoever asked is told what is for the operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Details {
    /// They are: they develop the handler, or operate the daemon.
    Told,
    /// They are told the code and the number of the job, which the log knows more about.
    Withheld,
}

impl Refusal {
    /// Maps every refusal to its status. 4xx is the caller's doing, 502 and 504 the handler's, 503
    /// that of load, 500 ours.
    fn status(&self) -> StatusCode {
        match self {
            Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
            Refusal::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
            Refusal::TargetTooLong(_) => StatusCode::URI_TOO_LONG,
            Refusal::HeadTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Refusal::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Refusal::NotTls => StatusCode::BAD_REQUEST,
            // Never said: no answer can be given any more.
            Refusal::Flood => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Expectation => StatusCode::EXPECTATION_FAILED,
            Refusal::Loop => StatusCode::LOOP_DETECTED,
            Refusal::NoRoute | Refusal::NoJob(_) => StatusCode::NOT_FOUND,
            Refusal::Rejected(..) => StatusCode::BAD_REQUEST,
            Refusal::Forbidden(_) => StatusCode::FORBIDDEN,
            Refusal::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Refusal::Occupied(_) => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::UpgradeRequired(_) | Refusal::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
            Refusal::WrongMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Failed(_, fault) => match fault {
                Fault::NotFound(_) | Fault::NoScript(_) => StatusCode::NOT_FOUND,
                Fault::InputTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
                Fault::LengthRequired => StatusCode::LENGTH_REQUIRED,
                Fault::InputIdle(_) | Fault::InputSlow(_) => StatusCode::REQUEST_TIMEOUT,
                Fault::Stopped(reason) if reason.is_of_the_client() => StatusCode::REQUEST_TIMEOUT,
                Fault::InputBroken(_) | Fault::ReaderGone => StatusCode::BAD_REQUEST,
                Fault::Busy { .. }
                | Fault::QueuedTooLong { .. }
                | Fault::MemoryTotal { .. }
                | Fault::DescriptorsTotal { .. }
                | Fault::NoScratch(_)
                | Fault::NoMemory(_)
                | Fault::Draining
                | Fault::Stopped(_) => StatusCode::SERVICE_UNAVAILABLE,
                Fault::TimedOut(_) | Fault::CpuExceeded(_) => StatusCode::GATEWAY_TIMEOUT,
                Fault::OutOfMemory { .. }
                | Fault::TooManyHandles(_)
                | Fault::OutputTooLarge(_)
                | Fault::Trapped { .. }
                | Fault::Exited { .. }
                | Fault::BadAnswer(_) => StatusCode::BAD_GATEWAY,
                Fault::Host(_) => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }

    /// Returns one stable word for programs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Refusal::Malformed(_) => "malformed_request",
            Refusal::Unsupported(_) => "not_implemented",
            Refusal::TargetTooLong(_) => "target_too_long",
            Refusal::HeadTooLarge(_) => "head_too_large",
            Refusal::BodyTooLarge => "body_limit",
            Refusal::Version => "http_version",
            Refusal::NotTls => "not_tls",
            Refusal::Flood => "flood",
            Refusal::Expectation => "expectation_failed",
            Refusal::Loop => "loop",
            Refusal::NoRoute => "no_route",
            Refusal::NoJob(_) => "job_not_found",
            Refusal::Rejected(..) => "rejected",
            Refusal::Forbidden(_) => "forbidden",
            Refusal::Internal => "internal",
            Refusal::Occupied(_) => "occupied",
            Refusal::WrongMethod(_) => "method_not_allowed",
            Refusal::UpgradeRequired(_) => "upgrade_required",
            Refusal::WebSocketVersion => "websocket_version",
            Refusal::Failed(_, fault) => fault.code(),
        }
    }

    /// Says it in one line. A failure of ours, and a guest's own words, are for the log.
    pub(super) fn message(&self, details: Details) -> String {
        match self {
            Refusal::Malformed(what) => format!("malformed request: {what}"),
            Refusal::Unsupported(what) => format!("not implemented: {what}"),
            Refusal::TargetTooLong(most) => format!("the request target is longer than {most} bytes"),
            Refusal::HeadTooLarge(what) => format!("the request head is too large: {what}"),
            Refusal::BodyTooLarge => {
                "the request body is larger than any limit (limits.body) allows".to_owned()
            }
            Refusal::NotTls => "this port speaks TLS: ask for https://".to_owned(),
            Refusal::Flood => "a flood of frames".to_owned(),
            Refusal::Version => {
                "HTTP/1.1, HTTP/1.0 and HTTP/2 are spoken here; over TLS, HTTP/2 with a client that agrees on it \
                 (ALPN)"
                    .to_owned()
            }
            Refusal::Expectation => "Expect: only 100-continue is known".to_owned(),
            Refusal::Loop => {
                "the request goes round in circles: it has come back to this daemon too often".to_owned()
            }
            Refusal::NoRoute => "no route matches this path".to_owned(),
            Refusal::WrongMethod(allow) => format!("this path allows {allow} only"),
            Refusal::WebSocketVersion => "WebSocket is spoken in version 13 only".to_owned(),
            Refusal::UpgradeRequired(protocol) => format!(
                "this path is for clients that change over to {protocol}: send HTTP/1.1 with `Connection: \
                 Upgrade` and `Upgrade: {protocol}`"
            ),
            Refusal::NoJob(name) => Fault::NotFound(name.clone()).to_string(),
            Refusal::Rejected(_, said) => said.trim_end().to_owned(),
            Refusal::Forbidden(why) | Refusal::Occupied(why) => (*why).to_owned(),
            Refusal::Internal => "internal error: the log says more".to_owned(),
            Refusal::Failed(_, fault) => match (details, fault) {
                (Details::Told, Fault::Trapped { stack, .. }) => {
                    format!("{fault}\n{stack}").trim_end().to_owned()
                }
                (Details::Told, fault) => fault.to_string(),
                (Details::Withheld, fault) => fault.in_public(),
            },
        }
    }

    /// Reports whether what is left of the request on the wire cannot be trusted or will not be read.
    pub(super) fn closes(&self) -> bool {
        match self {
            Refusal::Malformed(_)
            | Refusal::Unsupported(_)
            | Refusal::TargetTooLong(_)
            | Refusal::HeadTooLarge(_)
            | Refusal::BodyTooLarge
            | Refusal::Version
            | Refusal::NotTls
            | Refusal::Flood
            | Refusal::Expectation
            | Refusal::Forbidden(_)
            | Refusal::Internal => true,
            Refusal::Loop
            | Refusal::NoRoute
            | Refusal::WrongMethod(_)
            | Refusal::UpgradeRequired(_)
            | Refusal::WebSocketVersion
            | Refusal::NoJob(_)
            | Refusal::Rejected(..)
            | Refusal::Occupied(_) => false,
            Refusal::Failed(_, fault) => matches!(
                fault,
                Fault::InputTooLarge(_)
                    | Fault::InputIdle(_)
                    | Fault::InputSlow(_)
                    | Fault::InputBroken(_)
                    | Fault::Draining
                    | Fault::Stopped(StopReason::OutOfShare)
            ),
        }
    }

    /// Makes the response: JSON if the client asks for it, plain text otherwise.
    pub(super) fn into_response(
        self,
        request: &HeaderMap,
        details: Details,
        reason: ReasonHeader,
    ) -> Response<Body> {
        let job = match &self {
            Refusal::Failed(id, _) | Refusal::Rejected(id, _) => Some(id.to_string()),
            Refusal::Malformed(_)
            | Refusal::Unsupported(_)
            | Refusal::TargetTooLong(_)
            | Refusal::HeadTooLarge(_)
            | Refusal::BodyTooLarge
            | Refusal::Version
            | Refusal::NotTls
            | Refusal::Flood
            | Refusal::Expectation
            | Refusal::Loop
            | Refusal::NoRoute
            | Refusal::WrongMethod(_)
            | Refusal::UpgradeRequired(_)
            | Refusal::WebSocketVersion
            | Refusal::NoJob(_)
            | Refusal::Forbidden(_)
            | Refusal::Internal
            | Refusal::Occupied(_) => None,
        };
        let (content_type, text) = if wants_json(request) {
            let body = json!({"error": self.code(), "message": self.message(details), "job": job});
            // Exactly this type: clients compare it with the one they know.
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
        match &self {
            Refusal::WrongMethod(allow) => {
                // The names of methods are tokens, which are header values.
                headers.extend(HeaderValue::from_str(allow).ok().map(|allow| (ALLOW, allow)));
            }
            Refusal::UpgradeRequired(protocol) => headers.extend(upgrade::fields(protocol)),
            Refusal::WebSocketVersion => {
                // RFC 6455 §4.4.
                headers.extend(upgrade::fields("websocket"));
                headers.insert(SEC_WEBSOCKET_VERSION, upgrade::VERSION);
            }
            Refusal::Failed(
                _,
                Fault::Busy { retry_after, .. }
                | Fault::QueuedTooLong { retry_after, .. }
                | Fault::MemoryTotal { retry_after }
                | Fault::DescriptorsTotal { retry_after },
            ) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
            }
            Refusal::Occupied(_)
            | Refusal::Failed(
                _,
                Fault::Draining
                | Fault::Stopped(StopReason::Shutdown)
                | Fault::NoMemory(_)
                | Fault::NoScratch(_),
            ) => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Refusal::Malformed(_)
            | Refusal::Unsupported(_)
            | Refusal::TargetTooLong(_)
            | Refusal::HeadTooLarge(_)
            | Refusal::BodyTooLarge
            | Refusal::Version
            | Refusal::NotTls
            | Refusal::Flood
            | Refusal::Expectation
            | Refusal::Loop
            | Refusal::NoRoute
            | Refusal::Failed(..)
            | Refusal::NoJob(_)
            | Refusal::Rejected(..)
            | Refusal::Forbidden(_)
            | Refusal::Internal => {}
        }
        response
    }
}

/// Reports whether the client names JSON in `Accept` and does not name text before it.
fn wants_json(request: &HeaderMap) -> bool {
    let accept = request.get_all(http::header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = accept.flat_map(|value| value.split(',')).filter_map(|range| range.split(';').next());
    ranges
        .find_map(|range| match range.trim() {
            range if range.eq_ignore_ascii_case("application/json") => Some(true),
            range if range.get(..5).is_some_and(|family| family.eq_ignore_ascii_case("text/")) => Some(false),
            _ => None,
        })
        .unwrap_or(false)
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
        assert!(!wants_json(&HeaderMap::new()));
    }
}
