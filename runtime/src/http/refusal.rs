//! The one table from what went wrong to what the client is told.

use http::StatusCode;

use crate::job::{Fault, JobId, StopReason};

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
    pub(super) fn status(&self) -> StatusCode {
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
}
