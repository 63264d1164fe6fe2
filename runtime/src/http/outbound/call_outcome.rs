//! A guard that counts a call once, however the call ends, and tells it to the history and the trace of its job.

use std::sync::Arc;
use std::time::Instant;

use http::{Method, Request, StatusCode, Uri};

use crate::job::Usage;
use crate::job::outbound::{OutboundOutcome, Tally};
use crate::observe::brief;
use crate::observe::history::CallSummary;
use crate::observe::traces::{CallSpan, SpanId, SpanRef, TRACEPARENT};

/// The most bytes of an origin that the history keeps.
const ORIGIN: usize = 128;

/// Counts its call when dropped.
pub(super) struct CallOutcome {
    tally: Arc<Tally>,
    outcome: OutboundOutcome,
    /// `None` if neither the history nor a trace wants the call.
    told: Option<Box<ObservedCall>>,
}

/// A call for the history and the trace of its job.
struct ObservedCall {
    usage: Arc<Usage>,
    started: Instant,
    origin: String,
    span: Option<TracedCall>,
}

/// The span of a call.
struct TracedCall {
    place: SpanRef,
    /// The span below which it is.
    parent: SpanId,
    method: Method,
    host: String,
    port: Option<u16>,
    status: Option<u16>,
}

impl CallOutcome {
    /// Begins a call. If its job is traced, the request is given the span of the call as its `traceparent`.
    pub(super) fn new<B>(tally: Arc<Tally>, usage: &Arc<Usage>, request: &mut Request<B>) -> CallOutcome {
        let span = usage.spans.innermost().map(|innermost| TracedCall::begin(&innermost, request));
        let told = (span.is_some() || usage.ends.keeps_calls()).then(|| {
            let (started, origin) = (Instant::now(), origin(request.uri()));
            Box::new(ObservedCall { usage: usage.clone(), started, origin, span })
        });
        CallOutcome { tally, outcome: OutboundOutcome::Failed, told }
    }

    pub(super) fn end(mut self, outcome: OutboundOutcome) {
        self.outcome = outcome;
    }

    pub(super) fn becomes(&mut self, outcome: OutboundOutcome) {
        self.outcome = outcome;
    }

    /// Notes the status of the response.
    pub(super) fn answered(&mut self, status: StatusCode) {
        let spans = self.told.iter_mut().filter_map(|told| told.span.as_mut());
        spans.for_each(|span| span.status = Some(status.as_u16()));
    }
}

impl TracedCall {
    /// Gives the request its fields. A guest that makes its own spans may name the parent.
    fn begin<B>(innermost: &SpanRef, request: &mut Request<B>) -> TracedCall {
        let named = request.headers().get(TRACEPARENT).and_then(|field| field.to_str().ok());
        let parent = innermost.or_named(named);
        let place = parent.below();
        let (host, port) = (request.uri().host().unwrap_or_default(), port(request.uri()));
        let (method, host, parent) = (request.method().clone(), brief(host, ORIGIN), parent.id());
        place.put(request.headers_mut());
        TracedCall { place, parent, method, host, port, status: None }
    }

    fn ended(self, CallSummary { started, time, origin, outcome }: &CallSummary, is_answered: bool) {
        let TracedCall { place, parent, method, host, port, status } = self;
        let (started, origin, outcome) = (*started, origin.clone(), *outcome);
        let ended = started + *time;
        place.call_ended(
            parent,
            CallSpan { started, ended, method, origin, host, port, status, outcome, is_answered },
        );
    }
}

/// Returns the port of a URL, or the default port of its scheme.
fn port(url: &Uri) -> Option<u16> {
    let default = match url.scheme_str() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        Some(_) | None => None,
    };
    url.port_u16().or(default)
}

/// Returns the origin of a URL, without the user information, which may hold a password.
fn origin(url: &Uri) -> String {
    let (scheme, host) = (url.scheme_str().unwrap_or("-"), url.host().unwrap_or("-"));
    let port = url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    brief(format_args!("{scheme}://{host}{port}"), ORIGIN)
}

impl Drop for CallOutcome {
    fn drop(&mut self) {
        self.tally.count(self.outcome);
        if let Some(told) = self.told.take() {
            let ObservedCall { usage, started, origin, span } = *told;
            let (time, outcome) = (started.elapsed(), self.outcome.label());
            let call = CallSummary { started, time, origin, outcome };
            if let Some(span) = span {
                span.ended(&call, self.outcome == OutboundOutcome::Answered);
            }
            if usage.ends.keeps_calls() {
                usage.ends.called(call);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_no_password_and_no_path() {
        let shown = |url: &str| origin(&url.parse().unwrap());

        assert_eq!(shown("https://ada:s3cret@api.example:8443/a?b=c"), "https://api.example:8443");
        assert_eq!((shown("http://[::1]/"), shown("/a")), ("http://[::1]".to_owned(), "-://-".to_owned()));
    }

    #[test]
    fn a_call_has_a_port_also_where_its_url_names_none() {
        let ports =
            ["http://a/", "https://a/b", "https://a:8443/", "/a"].map(|url| port(&url.parse().unwrap()));

        assert_eq!(ports, [Some(80), Some(443), Some(8443), None]);
    }
}
