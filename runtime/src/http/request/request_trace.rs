//! The span of a request: begun from its `traceparent`, and told to its job.

use std::time::Instant;

use http::HeaderMap;
use http::request::Parts;

use crate::access::AddressSet;
use crate::job::{Env, Usage};
use crate::net::Peer;
use crate::observe::history::RequestSummary;
use crate::observe::traces::{
    JobTrigger, OpenSpan, RemoteParent, RequestSpan, TRACEPARENT, TRACESTATE, Tracer,
};

/// The span of a request in progress.
pub(in crate::http) struct RequestTrace {
    pub(in crate::http) span: OpenSpan,
    /// When its job was made.
    pub(in crate::http) job_made: Option<Instant>,
    pub(in crate::http) is_secure: bool,
}

/// Begins the span of a request. Its fields are removed from the head: what a client says that is not believed reaches
/// no handler, and each job gets fields of its own. `sender` is the peer that has connected.
pub(in crate::http) fn begin(
    tracer: &Tracer,
    head: &mut Parts,
    sender: &Peer,
    trusted: Option<&AddressSet>,
) -> OpenSpan {
    // A proxy that passes bytes on and names no client has not written the fields.
    let is_proxy =
        || sender.may_forward() && trusted.is_some_and(|trusted| trusted.contains(sender.address()));
    let parent = tracer.believes(is_proxy).then(|| RemoteParent::read(&head.headers)).flatten();
    head.headers.remove(TRACEPARENT);
    head.headers.remove(TRACESTATE);
    tracer.begin(parent, JobTrigger::Request)
}

impl RequestTrace {
    /// Ends the span. `is_broken_off` tells whether the response failed after its head.
    pub(in crate::http) fn end(self, summary: &RequestSummary, is_broken_off: bool) {
        let RequestTrace { span, job_made, is_secure } = self;
        let is_failed = is_broken_off || summary.status.is_some_and(|status| status >= 500);
        span.end_request(RequestSpan { summary: summary.clone(), job_made, is_secure, is_failed });
    }
}

/// Adds the variables of a traced job: as programs know them, and as the fields of its request.
pub(super) fn variables(usage: &Usage, env: &mut Env) {
    let Some(span) = usage.spans.job() else { return };
    for (names, value) in [
        (["TRACEPARENT", "HTTP_TRACEPARENT"], Some(span.traceparent())),
        (["TRACESTATE", "HTTP_TRACESTATE"], span.tracestate()),
    ] {
        if let Some(value) = value {
            // The values are printable.
            names.iter().for_each(|name| drop(env.set(name, &value)));
        }
    }
}

/// Adds the fields of a traced job.
pub(super) fn fields(usage: &Usage, fields: &mut HeaderMap) {
    if let Some(span) = usage.spans.job() {
        span.put(fields);
    }
}
