//! Every reason to refuse a request, with its status, code and text.

use std::time::Duration;

use http::{HeaderValue, StatusCode};

use crate::access::RateExceeded;
use crate::job::{AnswerStage, Fault, JobId, StopReason};

/// A request that was answered without a job, or whose job gave no valid response.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The request is invalid; the text says how.
    Malformed(String),
    /// The request asks for what no handler can do: a tunnel, an echo of itself, an unknown coding.
    Unsupported(&'static str),
    /// The target is longer than this many bytes.
    TargetTooLong(usize),
    /// The head exceeds a limit; the text says which.
    HeadTooLarge(String),
    /// The body exceeds every limit.
    BodyTooLarge,
    /// The version of HTTP is not supported.
    Version,
    /// The port requires TLS, and the client does not use it.
    NotTls,
    /// The port is in clear text, and the client speaks TLS.
    UnexpectedTls,
    /// The connection does not begin with a header of the PROXY protocol from a trusted proxy.
    ProxyHeader,
    /// The client sends frames that cause work and ask for no response.
    Flood,
    /// The client expects what the daemon does not support.
    Expectation,
    /// The request has come back to this daemon too often.
    Loop,
    /// No route matches.
    NoRoute,
    /// The version of the API is not supported; the text says which are.
    ApiVersion(String),
    /// The directory of the route has no such file.
    NoFile,
    /// The file is in another state than the client requires.
    Precondition,
    /// The range is beyond the end of the file, which has this length.
    Range(u64),
    /// The path has routes, but only for these methods.
    WrongMethod(String),
    /// The route requires an upgrade to this protocol.
    UpgradeRequired(&'static str),
    /// The version of WebSocket is not supported.
    WebSocketVersion,
    /// The job of this number failed.
    Failed(JobId, Fault),
    /// No job has this name.
    NoJob(String),
    /// The built-in job of this number refused its call, with this text.
    Rejected(JobId, String),
    /// The client has sent more requests than a rate limit allows.
    RateLimited(Box<RateExceeded>),
    /// A gate wants credentials, and this is its `WWW-Authenticate` field.
    Unauthorized(HeaderValue),
    /// A gate does not let the client pass.
    AccessDenied,
    /// The request is not allowed; the text says why.
    Forbidden(&'static str),
    /// The daemon panicked before there was a job.
    Internal,
    /// The concurrency limit for this kind of request is reached; the text says what to do.
    Occupied(String),
}

/// Whether clients see details meant for the operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Details {
    /// They do: they develop the handler, or operate the daemon.
    Told,
    /// They see only the code and the number of the job, under which the log has more.
    Withheld,
}

/// A row of the table: everything about a refusal but its text.
struct Row {
    status: StatusCode,
    code: &'static str,
    connection: Connection,
    /// When the client may try again, or `None` if trying again does not help.
    retry_after: Option<Duration>,
}

/// What happens to an HTTP/1 connection after a refusal.
#[derive(PartialEq, Eq)]
enum Connection {
    Closes,
    Stays,
}

/// When to retry after a failure that passes by itself.
const RETRY_SOON: Duration = Duration::from_secs(1);

impl Refusal {
    /// Returns the row of the table for this refusal. Status 4xx is the caller's fault, 502 and 504 the
    /// handler's, 503 that of the load, 500 the daemon's.
    fn row(&self) -> Row {
        use Connection::{Closes, Stays};
        let (status, code, connection) = match self {
            Refusal::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed_request", Closes),
            Refusal::Unsupported(_) => (StatusCode::NOT_IMPLEMENTED, "not_implemented", Closes),
            Refusal::TargetTooLong(_) => (StatusCode::URI_TOO_LONG, "target_too_long", Closes),
            Refusal::HeadTooLarge(_) => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", Closes)
            }
            Refusal::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_limit", Closes),
            Refusal::Version => (StatusCode::HTTP_VERSION_NOT_SUPPORTED, "http_version", Closes),
            Refusal::NotTls => (StatusCode::BAD_REQUEST, "not_tls", Closes),
            Refusal::UnexpectedTls => (StatusCode::BAD_REQUEST, "unexpected_tls", Closes),
            // The status of these two is never sent: the connection cannot take a response.
            Refusal::ProxyHeader => (StatusCode::BAD_REQUEST, "proxy_protocol", Closes),
            Refusal::Flood => (StatusCode::TOO_MANY_REQUESTS, "flood", Closes),
            Refusal::Expectation => (StatusCode::EXPECTATION_FAILED, "expectation_failed", Closes),
            Refusal::Loop => (StatusCode::LOOP_DETECTED, "loop", Stays),
            Refusal::NoRoute => (StatusCode::NOT_FOUND, "no_route", Stays),
            Refusal::ApiVersion(_) => (StatusCode::BAD_REQUEST, "api_version", Stays),
            Refusal::NoFile => (StatusCode::NOT_FOUND, "no_file", Stays),
            Refusal::Precondition => (StatusCode::PRECONDITION_FAILED, "precondition_failed", Stays),
            Refusal::Range(_) => (StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", Stays),
            Refusal::NoJob(_) => (StatusCode::NOT_FOUND, "job_not_found", Stays),
            Refusal::Rejected(..) => (StatusCode::BAD_REQUEST, "rejected", Stays),
            Refusal::RateLimited(_) => (StatusCode::TOO_MANY_REQUESTS, "rate_limited", Stays),
            Refusal::Unauthorized(_) => (StatusCode::UNAUTHORIZED, "unauthorized", Stays),
            Refusal::AccessDenied => (StatusCode::FORBIDDEN, "access_denied", Stays),
            Refusal::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden", Closes),
            Refusal::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", Closes),
            Refusal::Occupied(_) => (StatusCode::SERVICE_UNAVAILABLE, "occupied", Stays),
            Refusal::WrongMethod(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", Stays),
            Refusal::UpgradeRequired(_) => (StatusCode::UPGRADE_REQUIRED, "upgrade_required", Stays),
            Refusal::WebSocketVersion => (StatusCode::UPGRADE_REQUIRED, "websocket_version", Stays),
            Refusal::Failed(_, fault) => return Row::of_fault(fault),
        };
        let retry_after = if let Refusal::RateLimited(exceeded) = self {
            // Whole seconds, rounded up: a client that comes earlier is refused again.
            Some(exceeded.retry_after + Duration::from_nanos(999_999_999))
        } else {
            matches!(self, Refusal::Occupied(_)).then_some(RETRY_SOON)
        };
        Row { status, code, connection, retry_after }
    }

    /// Returns the status of the response.
    pub(super) fn status(&self) -> StatusCode {
        self.row().status
    }

    /// Returns the code of the reason: one stable word for programs.
    pub(super) fn code(&self) -> &'static str {
        self.row().code
    }

    /// Reports whether the connection closes after the response, because the rest of the request cannot be
    /// trusted or will not be read.
    pub(super) fn closes(&self) -> bool {
        self.row().connection == Connection::Closes
    }

    /// Returns when the client may try again, or `None` if trying again does not help.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.row().retry_after
    }

    /// Returns the job that the refusal is about, or `None` if there was none.
    pub(super) fn job(&self) -> Option<JobId> {
        if let Refusal::Failed(id, _) | Refusal::Rejected(id, _) = self { Some(*id) } else { None }
    }

    /// Describes the refusal in one line. With [`Details::Withheld`], failures of the daemon and words of a
    /// guest stay in the log.
    pub(super) fn message(&self, details: Details) -> String {
        match self {
            Refusal::Malformed(what) => format!("malformed request: {what}"),
            Refusal::Unsupported(what) => format!("not implemented: {what}"),
            Refusal::TargetTooLong(max) => format!("the request target is longer than {max} bytes"),
            Refusal::HeadTooLarge(what) => format!("the request head is too large: {what}"),
            Refusal::BodyTooLarge => {
                "the request body is larger than any limit (limits.body) allows".to_owned()
            }
            Refusal::NotTls => "this port speaks TLS: use https://".to_owned(),
            Refusal::UnexpectedTls => "this port does not speak TLS: use http://".to_owned(),
            Refusal::ProxyHeader => "this port is for proxies that speak the PROXY protocol".to_owned(),
            Refusal::Flood => "a flood of frames".to_owned(),
            Refusal::Version => {
                "HTTP/1.1, HTTP/1.0 and HTTP/2 are supported; over TLS, HTTP/2 with a client that agrees on it \
                 (ALPN)"
                    .to_owned()
            }
            Refusal::Expectation => "Expect: only 100-continue is supported".to_owned(),
            Refusal::Loop => {
                "the request loops: it has come back to this daemon too often, or a rewritten path is rewritten again".to_owned()
            }
            Refusal::NoRoute => "no route matches this path".to_owned(),
            Refusal::ApiVersion(what) => what.clone(),
            Refusal::NoFile => "there is no such file".to_owned(),
            Refusal::Precondition => "the file is in another state than the request requires".to_owned(),
            Refusal::Range(length) => format!("the range is beyond the end of the file, which has {length} bytes"),
            Refusal::WrongMethod(allow) => format!("this path allows {allow} only"),
            Refusal::WebSocketVersion => "only version 13 of WebSocket is supported".to_owned(),
            Refusal::UpgradeRequired(protocol) => format!(
                "this path is for clients that upgrade to {protocol}: send HTTP/1.1 with `Connection: \
                 Upgrade` and `Upgrade: {protocol}`"
            ),
            Refusal::NoJob(name) => Fault::NotFound(name.clone()).to_string(),
            Refusal::Rejected(_, said) => said.trim_end().to_owned(),
            Refusal::RateLimited(_) => "too many requests: see Retry-After".to_owned(),
            Refusal::Unauthorized(_) => "credentials are wanted: see WWW-Authenticate".to_owned(),
            Refusal::AccessDenied => "access denied".to_owned(),
            Refusal::Forbidden(why) => (*why).to_owned(),
            Refusal::Occupied(why) => why.clone(),
            Refusal::Internal => "internal error: see the daemon's log".to_owned(),
            Refusal::Failed(_, fault) => {
                let told = fault.at(AnswerStage::Awaited);
                match (details, fault) {
                    (Details::Told, Fault::Trapped { stack, .. }) => {
                        format!("{told}\n{stack}").trim_end().to_owned()
                    }
                    (Details::Told, _) => told.to_string(),
                    (Details::Withheld, _) => told.in_public().to_string(),
                }
            }
        }
    }
}

impl Row {
    fn of_fault(fault: &Fault) -> Row {
        use Connection::{Closes, Stays};
        let (status, connection, retry_after) = match fault {
            Fault::NotFound(_) | Fault::NoScript(_) => (StatusCode::NOT_FOUND, Stays, None),
            Fault::InputTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, Closes, None),
            Fault::LengthRequired => (StatusCode::LENGTH_REQUIRED, Stays, None),
            Fault::InputIdle(_) | Fault::InputSlow(_) => (StatusCode::REQUEST_TIMEOUT, Closes, None),
            Fault::InputBroken(_) => (StatusCode::BAD_REQUEST, Closes, None),
            Fault::ReaderGone => (StatusCode::BAD_REQUEST, Stays, None),
            Fault::Busy { retry_after, .. }
            | Fault::QueuedTooLong { retry_after, .. }
            | Fault::Deadlock { retry_after, .. }
            | Fault::MemoryTotal { retry_after }
            | Fault::DescriptorsTotal { retry_after } => {
                (StatusCode::SERVICE_UNAVAILABLE, Stays, Some(*retry_after))
            }
            Fault::NoScratch(_) | Fault::NoMemory(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, Stays, Some(RETRY_SOON))
            }
            Fault::Draining => (StatusCode::SERVICE_UNAVAILABLE, Closes, Some(RETRY_SOON)),
            Fault::Stopped(StopReason::OutOfShare | StopReason::Memory) => {
                (StatusCode::REQUEST_TIMEOUT, Closes, None)
            }
            Fault::Stopped(StopReason::TooSlow | StopReason::TakesNothing) => {
                (StatusCode::REQUEST_TIMEOUT, Stays, None)
            }
            Fault::Stopped(StopReason::Shutdown) => {
                (StatusCode::SERVICE_UNAVAILABLE, Stays, Some(RETRY_SOON))
            }
            Fault::Stopped(StopReason::Killed | StopReason::Answered | StopReason::NoAnswer) => {
                (StatusCode::SERVICE_UNAVAILABLE, Stays, None)
            }
            Fault::TimedOut(_) | Fault::CpuExceeded(_) => (StatusCode::GATEWAY_TIMEOUT, Stays, None),
            Fault::OutOfMemory { .. }
            | Fault::TooManyHandles(_)
            | Fault::OutputTooLarge(_)
            | Fault::Trapped { .. }
            | Fault::Exited { .. }
            | Fault::BadAnswer(_) => (StatusCode::BAD_GATEWAY, Stays, None),
            Fault::Host(_) => (StatusCode::INTERNAL_SERVER_ERROR, Stays, None),
        };
        Row { status, code: fault.code(), connection, retry_after }
    }
}
