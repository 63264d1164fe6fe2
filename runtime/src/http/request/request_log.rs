//! The access log line and the counters of one request, written when its response has ended.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderValue, StatusCode};
use tracing::{error, info};

use super::access_line::{self, LoggedRequest, LoggedResponse, LoggedRun};
use super::cgi_job::RoutedRequest;
use super::logged_job::{BUG, LoggedJob};
use super::request_trace::RequestTrace;
use crate::catalog::{Ballot, FieldChanges, ResponseRules, Route};
use crate::http::refusal::Refusal;
use crate::http::wire::client_memory::MemoryAccount;
use crate::http::wire::progress::Progress;
use crate::job::{
    AnswerProgress, Capture, Fault, HandlerStats, JobId, Label, RoutePosition, StopReason, Usage,
};
use crate::net::Peer;
use crate::observe::history::{History, RequestSummary, VersionHistory};
use crate::observe::traces::{OpenSpan, SpanRef, TraceId};

/// Lives as long as the response is being sent. The next request may come once it is dropped.
pub(in crate::http) struct RequestLog {
    progress: Progress,
    start: Instant,
    /// `None` until the head is handed over.
    status: Option<StatusCode>,
    /// The bytes of the body that were handed over.
    bytes: u64,
    end: ResponseEnd,
    /// Whether a failure counts against the handler.
    blame: Blame,
    /// Whether the job gave no response, or only a part of one.
    is_faulted: bool,
    /// The job of the response.
    call: Option<LoggedJob>,
    /// The route of that job.
    route: Option<RoutePosition>,
    /// Reports the outcome while the handler version is on trial.
    ballot: Option<Ballot>,
    /// The record of the request, which is kept if the job fails.
    capture: Option<Capture>,
    /// The code of the refusal, if the daemon answers instead of a handler, or of what broke the response off.
    reason: Option<&'static str>,
    /// What happens to the response, if its route has rules, or the group of a request without a route.
    pub(in crate::http) rules: Option<Arc<ResponseRules>>,
    /// What gates have told for the response.
    pub(in crate::http) told: Option<Box<FieldChanges>>,
    /// The user that gates have named.
    user: Option<String>,
    line: Option<Box<LoggedRequest>>,
    /// The request for the history, its listeners and the trace. `None` if none of them is on.
    story: Option<RequestSummary>,
    /// Gets the request if no handler answers it.
    tapped: Option<Arc<History>>,
    /// The span of the request, if it is traced.
    trace: Option<RequestTrace>,
}

/// How a response ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ResponseEnd {
    /// Not at all: the client has left, or was given up.
    Dropped,
    Complete,
    /// By a failure after its head.
    BrokenOff,
}

/// Which side a failure counts against.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blame {
    Handler,
    Nobody,
}

impl RequestLog {
    /// Begins the log of a request. Inlined, so that a caller with room for it moves no empty fields there.
    #[inline]
    pub(in crate::http) fn new(progress: Progress) -> RequestLog {
        RequestLog {
            progress,
            start: Instant::now(),
            status: None,
            bytes: 0,
            end: ResponseEnd::Dropped,
            blame: Blame::Handler,
            is_faulted: false,
            call: None,
            route: None,
            ballot: None,
            capture: None,
            reason: None,
            rules: None,
            told: None,
            user: None,
            line: None,
            story: None,
            tapped: None,
            trace: None,
        }
    }

    /// Returns the account of the memory that its connection holds.
    pub(in crate::http) fn memory(&self) -> &MemoryAccount {
        &self.progress.memory
    }

    /// Requests an access log line at the end.
    pub(in crate::http) fn log_access(&mut self, request: LoggedRequest) {
        self.line = Some(Box::new(request));
    }

    /// Notes the job that answers, and the route of its request. Keeps the request for the history of the handler, if that
    /// is wanted.
    pub(in crate::http) fn handler_chosen(
        &mut self,
        job: LoggedJob,
        request: RoutedRequest<'_>,
        ballot: Option<Ballot>,
    ) {
        let (routes, route) = (&job.entry.record.routes, &request.found.route.label);
        let position = routes.position(route);
        self.route = Some(position);
        let is_kept = job.entry.history.as_ref().is_some_and(VersionHistory::is_wanted);
        if self.story.is_some() || is_kept {
            job.usage.ends.answers_request();
            let start = self.start;
            let story = self.story.get_or_insert_with(|| begun_story(start, request.head, request.peer));
            story.route = Some(routes.name(position, route).clone());
        }
        self.job_chosen(job, ballot);
    }

    fn job_chosen(&mut self, job: LoggedJob, ballot: Option<Ballot>) {
        job.usage.answer.awaited();
        job.usage.waits.taken_by(self.progress.delivery.clone());
        self.ballot = ballot;
        self.ballot.iter_mut().for_each(|ballot| ballot.begins(&job.usage));
        self.trace.iter_mut().for_each(|trace| trace.job_made = Some(Instant::now()));
        self.call = Some(job);
    }

    /// Traces the request with this span.
    pub(in crate::http) fn traced(&mut self, span: OpenSpan, head: &Parts, peer: &Peer) {
        self.trace = Some(RequestTrace { span, job_made: None, is_secure: peer.is_secure() });
        if self.story.is_none() {
            self.story = Some(begun_story(self.start, head, peer));
        }
    }

    /// Keeps the request for the listeners of the history, whatever answers it.
    pub(in crate::http) fn tapped(&mut self, head: &Parts, peer: &Peer, history: &Arc<History>) {
        self.tapped = Some(history.clone());
        self.story = Some(begun_story(self.start, head, peer));
    }

    /// Notes the route, and its rules for the response.
    pub(in crate::http) fn route_found(&mut self, route: &Route) {
        self.rules = route.rules.clone();
        if let Some(story) = self.story.as_mut().filter(|_| self.trace.is_some()) {
            story.route = Some(route.label.clone());
        }
        self.line.iter_mut().for_each(|line| line.route = Some(route.label.clone()));
    }

    /// Records the user name from the gates. `None` keeps an earlier name.
    pub(in crate::http) fn user_named(&mut self, user: Option<&str>) {
        self.user = user.map(access_line::cut_user).or_else(|| self.user.take());
    }

    /// Takes the user out.
    pub(in crate::http) fn take_user(&mut self) -> Option<String> {
        self.user.take()
    }

    /// Reports whether the daemon answers with an error instead of the target of the route.
    pub(in crate::http) fn is_refused(&self) -> bool {
        self.reason.is_some()
    }

    /// Sets the record of the job.
    pub(in crate::http) fn captured(&mut self, capture: Option<Capture>) {
        self.capture = capture;
    }

    /// Notes that the head was handed over.
    pub(in crate::http) fn head_sent(&mut self, status: StatusCode) {
        self.progress.delivery.writer().hand(0);
        self.status = Some(status);
        self.story.iter_mut().for_each(|story| story.head_sent = Some(Instant::now()));
        self.ballot.iter_mut().for_each(Ballot::handed);
        // A refusal is the daemon's answer.
        self.call.iter().filter(|_| self.reason.is_none()).for_each(|job| job.usage.answer.begun());
        // Another protocol follows, with its own deadlines.
        if status == StatusCode::SWITCHING_PROTOCOLS
            && let Some(ballot) = self.ballot.take()
        {
            ballot.answered();
        }
    }

    /// Notes that the whole response was handed over.
    pub(in crate::http) fn complete(&mut self) {
        self.end = ResponseEnd::Complete;
        self.progress.close_delimited.writer().complete();
    }

    /// Returns why the client was given up, if it was.
    pub(in crate::http) fn given_up(&self) -> Option<StopReason> {
        Some(()).filter(|()| self.end == ResponseEnd::Dropped).and_then(|()| self.progress.given_up())
    }

    /// Notes that more of the body is wanted, and none is there yet.
    pub(in crate::http) fn body_wanted(&mut self) {
        self.progress.delivery.writer().want();
        self.ballot.iter_mut().for_each(Ballot::awaits);
    }

    pub(in crate::http) fn sent(&mut self, bytes: usize) {
        self.progress.delivery.writer().hand(bytes);
        self.ballot.iter_mut().for_each(Ballot::handed);
        self.bytes += bytes as u64;
    }

    /// Notes that the daemon answers instead of the handler, and why.
    pub(in crate::http) fn refused(&mut self, refusal: &Refusal) {
        self.reason = Some(refusal.code());
        if let Refusal::Failed(_, fault) = refusal {
            self.failed(fault);
        }
    }

    pub(in crate::http) fn broke_off(&mut self, fault: &Fault) {
        self.end = ResponseEnd::BrokenOff;
        self.reason = Some(fault.code());
        self.failed(fault);
        self.call.iter().for_each(|job| job.complain(fault));
    }

    /// Notes that the daemon panicked while it made the response. Returns the refusal to send
    /// instead.
    pub(in crate::http) fn panicked(&self, words: &str) -> Refusal {
        self.report_panic(words);
        match &self.call {
            Some(job) => {
                Refusal::Failed(job.id, Fault::Host(anyhow::anyhow!("the daemon panicked: {words}")))
            }
            None => Refusal::Internal,
        }
    }

    /// Logs and counts the job that failed before its head, and makes the refusal for the client.
    pub(in crate::http) fn job_failed(&self, fault: Fault) -> Refusal {
        let Some(job) = &self.call else { return Refusal::Internal };
        job.complain(&fault);
        Refusal::Failed(job.id, fault)
    }

    /// Logs and counts a panic of the daemon. The job ended with it and not by itself.
    fn report_panic(&self, words: &str) {
        match &self.call {
            Some(job) => job.panicked(words),
            None => error!("the daemon panicked over an answer: {words} ({BUG})"),
        }
    }

    fn failed(&mut self, fault: &Fault) {
        self.is_faulted = true;
        self.blame = if fault.is_about_the_handler() { self.blame } else { Blame::Nobody };
        let nothing = AnswerProgress::default();
        let answer = self.call.as_ref().map_or(&nothing, |job| &job.usage.answer);
        self.story.iter_mut().for_each(|story| story.failure = Some(Box::new(fault.summary(answer))));
        // A fault that the engine has seen is recorded already.
        self.capture.iter().for_each(|capture| capture.fail(fault));
    }

    /// Counts the durations and the sizes of a request with a job.
    fn measured(&self, id: JobId, record: &HandlerStats, usage: &Usage, (now, time): (Instant, Duration)) {
        record.transferred(usage.body(), self.bytes);
        usage.timing.since_end(now).iter().for_each(|time| record.latencies().send.observe(*time));
        if let Some(route) = self.route {
            let status = self.status.map_or(0, |status| status.as_u16());
            // An exemplar does not name a trace that no collector gets.
            let span = usage.spans.job().filter(|span| span.is_kept() || status >= 500);
            let job = (id.0, span.map(SpanRef::trace_id));
            record.routes.at(route).ended(status, time, job);
        }
    }

    /// Returns the trace. `None` if the request is not traced.
    fn trace_id(&self) -> Option<TraceId> {
        // A request that a middleware has passed on has no span of its own, but its job has one.
        let of_job = || self.call.as_ref().and_then(|job| job.usage.spans.trace_id());
        self.trace.as_ref().map(|trace| trace.span.place().trace_id()).or_else(of_job)
    }

    /// Ends the span of the request. Adds the request to the history, or gives it to the listeners if it had no handler.
    fn remember(&mut self, now: Instant, trace: Option<TraceId>) {
        let Some(story) = &mut self.story else { return };
        story.ended = now;
        story.status = self.status.map(|status| status.as_u16());
        story.sent = self.bytes;
        story.is_complete = self.end == ResponseEnd::Complete;
        // A response that broke off is no refusal: its failure is in the story already.
        story.reason = self.reason.filter(|_| self.end != ResponseEnd::BrokenOff);
        if let Some(span) = self.trace.take() {
            span.end(story, self.end == ResponseEnd::BrokenOff && self.blame == Blame::Handler);
        }
        let Some(story) = self.story.take() else { return };
        match (&self.call, &self.tapped) {
            (Some(LoggedJob { id, entry, usage }), _) => {
                let label = (Label { id: *id, parent: None }, trace);
                if let Some(history) = &entry.history {
                    usage.ends.request_ended(history, label, story, usage.has_begun());
                }
            }
            (None, Some(history)) => history.refused(story, trace),
            (None, None) => {}
        }
    }

    /// Returns the handler version that answers, as `hello@1f3a5c7e9b0d`.
    pub(in crate::http) fn version(&self) -> Option<HeaderValue> {
        let LoggedJob { entry, .. } = self.call.as_ref()?;
        HeaderValue::from_str(&format!("{}@{}", entry.name, entry.version)).ok()
    }
}

/// Describes a request that has begun, for the history.
fn begun_story(start: Instant, head: &Parts, peer: &Peer) -> RequestSummary {
    RequestSummary::begun(start, &head.method, head.uri.path(), peer.address())
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        self.progress.answered();
        if self.end == ResponseEnd::Dropped && thread::panicking() {
            self.report_panic("it had begun, the lines before say more");
            self.end = ResponseEnd::BrokenOff;
        }
        if let Some(given_up) = self.given_up() {
            self.reason = Some(given_up.code());
            if let Some(LoggedJob { id, entry, .. }) = &self.call {
                info!("[{id}] {}@{} its response was cut off: {given_up}", entry.name, entry.version);
            }
        }
        if self.call.is_none() && self.story.is_none() && self.line.is_none() {
            return;
        }
        let (status, now) = (self.status, Instant::now());
        let time = now.saturating_duration_since(self.start);
        if let Some(LoggedJob { id, entry, usage }) = &self.call {
            self.measured(*id, &entry.record, usage, (now, time));
            let is_error = status.is_some_and(|status| status.is_server_error());
            let failed = self.end == ResponseEnd::BrokenOff || is_error;
            if is_error && !self.is_faulted {
                entry.record.answered_error();
            }
            match self.blame {
                Blame::Handler if failed => entry.record.requests.fail(time),
                Blame::Handler | Blame::Nobody => entry.record.requests.succeed(time),
            }
            if let Some(ballot) = self.ballot.take() {
                match (self.blame, self.end) {
                    (Blame::Nobody, _) => ballot.withdrawn(),
                    (Blame::Handler, _) if failed => ballot.failed(),
                    (Blame::Handler, ResponseEnd::Complete) => ballot.answered(),
                    // The client has left.
                    (Blame::Handler, ResponseEnd::Dropped | ResponseEnd::BrokenOff) => drop(ballot),
                }
            }
        }
        let trace = self.trace_id();
        self.remember(now, trace);
        let Some(line) = &self.line else { return };
        let job = self.call.as_ref().map(|LoggedJob { id, entry, usage }| LoggedRun {
            id: *id,
            entry,
            durations: usage.timing.durations(now),
            send: usage.timing.since_end(now),
            received: usage.body(),
        });
        let (bytes, reason, is_complete) = (self.bytes, self.reason, self.end == ResponseEnd::Complete);
        let user = self.user.as_deref();
        line.write(&LoggedResponse { status, bytes, time, reason, is_complete, user, trace, job });
    }
}

#[cfg(test)]
mod tests;
