//! `HistoryEntry`: one ended job, with its request, its usage and its failure.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::Method;
use opentelemetry::TraceId;

/// The outcome of a job that did not fail.
const OK: &str = "ok";

/// The most bytes of a path that an entry keeps.
const PATH: usize = 256;

/// A handler version, as entries name it. Holds no code of it.
#[derive(PartialEq, Eq, Debug)]
pub struct VersionLabel {
    /// The name of the handler.
    pub handler: String,
    /// Its version.
    pub version: String,
    /// The kind of its module.
    pub kind: String,
}

/// An ended job, or a request that no handler answered.
#[derive(Clone, Debug)]
pub struct HistoryEntry {
    /// The number of the job. `None` without a job.
    pub id: Option<u64>,
    /// The number of the job that called it.
    pub parent: Option<u64>,
    /// Its trace. `None` if it is not traced.
    pub trace: Option<TraceId>,
    /// The handler version. `None` without a job.
    pub version: Option<Arc<VersionLabel>>,
    /// When the last part of it ended.
    pub ended: SystemTime,
    /// The run of the job. `None` if the job did not come as far as the queue.
    pub job: Option<JobSummary>,
    /// The request that the job answered. `None` if a job, a schedule or an operator started it.
    pub request: Option<RequestSummary>,
}

/// The run of a job.
#[derive(Clone, Debug)]
pub struct JobSummary {
    /// When it got its slot. `None` if it was refused one.
    pub started: Option<Instant>,
    /// When it ended.
    pub ended: Instant,
    /// How long its parts took.
    pub parts: JobDurations,
    /// Its CPU time.
    pub cpu: Duration,
    /// Its memory at the end, in bytes.
    pub memory: usize,
    /// Bytes of its request body that have arrived.
    pub read: u64,
    /// Bytes that it has written to stdout.
    pub written: u64,
    /// The used share of each limit in thousandths, in the order of `job::Peaks::NAMES`.
    pub used: [u32; 6],
    /// Its exit status.
    pub status: u8,
    /// What few jobs have. `None` without any of it.
    pub details: Option<Box<JobDetails>>,
}

/// What few jobs have: a failure, output on stderr, outbound calls.
#[derive(Clone, Debug)]
pub struct JobDetails {
    /// How the job failed. `None` if it did not.
    pub failure: Option<FailureSummary>,
    /// The end of its stderr.
    pub stderr: String,
    /// Its outbound calls, in the order of their ends.
    pub calls: Vec<CallSummary>,
}

/// How long each part of a job took, or has taken so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct JobDurations {
    /// The wait for a slot.
    pub queue: Duration,
    /// From the slot to the first instruction of the guest's entry point. `None` before the slot.
    pub instantiate: Option<Duration>,
    /// From there to the end of the job. This includes waits for its client. `None` if the guest was not entered.
    pub guest: Option<Duration>,
}

/// The request that a job answered.
#[derive(Clone, Debug)]
pub struct RequestSummary {
    /// When its head was complete.
    pub accepted: Instant,
    /// When the head of the response was handed over.
    pub head_sent: Option<Instant>,
    /// When the response ended.
    pub ended: Instant,
    /// The method.
    pub method: Method,
    /// The path without the query, which may hold a credential.
    pub path: String,
    /// The pattern of the route. `None` if no route matched.
    pub route: Option<Arc<str>>,
    /// The address of the client. `None` for a client on a Unix socket.
    pub client: Option<IpAddr>,
    /// The status of the response. `None` if the client left before there was one.
    pub status: Option<u16>,
    /// Bytes of the response body that were handed over.
    pub sent: u64,
    /// Whether the whole response was handed over.
    pub is_complete: bool,
    /// The code of the refusal, if the daemon answered instead of a handler.
    pub reason: Option<&'static str>,
    /// Why the job gave no response, or only a part of one.
    pub failure: Option<Box<FailureSummary>>,
}

/// How a job failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailureSummary {
    /// The code of the fault, as in the log and the metrics.
    pub code: &'static str,
    /// A description in one line.
    pub message: String,
    /// The guest's stack; may be empty.
    pub stack: String,
    /// Whether the handler or the daemon is to blame, and not the client or the load.
    pub is_own: bool,
}

/// An outbound call of a job.
#[derive(Clone, Debug)]
pub struct CallSummary {
    /// When the call began.
    pub started: Instant,
    /// How long it took, with its response.
    pub time: Duration,
    /// The origin of the server, without path and query.
    pub origin: String,
    /// How it ended, as metrics label it.
    pub outcome: &'static str,
}

impl HistoryEntry {
    /// Returns how the job failed: the reason for the missing response, or else the end of its run.
    pub fn failure(&self) -> Option<&FailureSummary> {
        let request = self.request.as_ref().and_then(|request| request.failure.as_deref());
        request.or_else(|| self.job.as_ref().and_then(JobSummary::failure))
    }

    /// Returns how it ended: `ok`, the code of the failure or of the refusal, or `answered 500` for an error that the
    /// handler has answered with itself.
    pub fn outcome(&self) -> Cow<'static, str> {
        /// The code of a client that left, as in `Fault::ReaderGone`.
        const GONE: &str = "client_gone";
        /// The status of a connection that leaves HTTP. Its end is no end of a response.
        const SWITCHING: u16 = 101;
        let is_left = |request: &RequestSummary| !request.is_complete && request.status != Some(SWITCHING);
        let reason = self.request.as_ref().and_then(|request| request.reason);
        match (self.failure().map(|failure| failure.code).or(reason), self.answered_error()) {
            (Some(code), _) => Cow::Borrowed(code),
            (None, Some(status)) => Cow::Owned(format!("answered {status}")),
            (None, None) if self.request.as_ref().is_some_and(is_left) => Cow::Borrowed(GONE),
            (None, None) => Cow::Borrowed(OK),
        }
    }

    /// Reports whether all went well.
    pub fn is_well(&self) -> bool {
        self.outcome() == OK
    }

    /// Returns the status of 5xx that the handler itself has answered with. `None` if the daemon answered for it.
    fn answered_error(&self) -> Option<u16> {
        let request =
            self.request.as_ref().filter(|request| self.id.is_some() && request.failure.is_none())?;
        request.status.filter(|status| *status >= 500)
    }

    /// Reports whether the handler or the daemon has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failure().is_some_and(|failure| failure.is_own) || self.answered_error().is_some()
    }

    /// Returns when it began: with its request, or with its slot.
    pub fn began(&self) -> Option<Instant> {
        let request = self.request.as_ref().map(|request| request.accepted);
        request.or_else(|| self.job.as_ref().map(|job| job.started.unwrap_or(job.ended)))
    }

    /// Returns the time from its beginning to its last end.
    pub fn total(&self) -> Duration {
        let ends = [self.request.as_ref().map(|one| one.ended), self.job.as_ref().map(|one| one.ended)];
        let last = ends.into_iter().flatten().max();
        last.zip(self.began()).map(|(last, began)| last.saturating_duration_since(began)).unwrap_or_default()
    }

    /// Returns the bytes that it takes in the queue of a listener, with its counters and its place there.
    pub(super) fn size(&self) -> usize {
        /// Two counters of an `Arc`, and a pointer in a queue that may be half empty.
        const PLACE: usize = 32;
        PLACE + size_of::<HistoryEntry>() + self.held_bytes()
    }

    /// Returns the bytes that it holds elsewhere: its texts, its calls and its failure.
    fn held_bytes(&self) -> usize {
        let job = self.job.as_ref().map_or(0, JobSummary::held_bytes);
        job + self.request.as_ref().map_or(0, RequestSummary::text_bytes)
    }
}

impl JobSummary {
    /// Returns how the job failed.
    pub fn failure(&self) -> Option<&FailureSummary> {
        self.details.as_ref()?.failure.as_ref()
    }

    /// Returns the end of its stderr.
    pub fn stderr(&self) -> &str {
        match &self.details {
            Some(details) => &details.stderr,
            None => "",
        }
    }

    /// Returns its outbound calls, in the order of their ends.
    pub fn calls(&self) -> &[CallSummary] {
        match &self.details {
            Some(details) => &details.calls,
            None => &[],
        }
    }

    /// Returns the bytes that it holds elsewhere.
    pub(super) fn held_bytes(&self) -> usize {
        self.details.as_deref().map_or(0, JobDetails::size)
    }
}

impl JobDetails {
    /// Puts the details of a job together. `None` if there is nothing.
    #[inline]
    pub fn of(
        failure: Option<FailureSummary>,
        stderr: String,
        calls: Vec<CallSummary>,
    ) -> Option<Box<JobDetails>> {
        let has_any = failure.is_some() || !stderr.is_empty() || !calls.is_empty();
        has_any.then(|| Box::new(JobDetails { failure, stderr, calls }))
    }

    /// Returns its bytes.
    fn size(&self) -> usize {
        let JobDetails { failure, stderr, calls } = self;
        let failure = failure.as_ref().map_or(0, FailureSummary::text_bytes);
        let origins: usize = calls.iter().map(|call| call.origin.capacity()).sum();
        let calls = calls.capacity() * size_of::<CallSummary>() + origins;
        size_of::<JobDetails>() + failure + stderr.capacity() + calls
    }
}

impl FailureSummary {
    /// Returns its bytes.
    pub(super) fn size(&self) -> usize {
        size_of::<FailureSummary>() + self.text_bytes()
    }

    fn text_bytes(&self) -> usize {
        self.message.capacity() + self.stack.capacity()
    }
}

impl RequestSummary {
    /// Returns the bytes of its texts.
    pub(in crate::observe) fn text_bytes(&self) -> usize {
        let failure = self.failure.as_deref().map_or(0, FailureSummary::size);
        self.path.capacity() + self.method.as_str().len() + failure
    }

    /// Describes a request that has just begun. `path` is the path of its target, without the query.
    #[inline]
    pub fn begun(accepted: Instant, method: &Method, path: &str, client: Option<IpAddr>) -> RequestSummary {
        RequestSummary {
            accepted,
            head_sent: None,
            ended: accepted,
            method: method.clone(),
            path: path[..path.floor_char_boundary(PATH)].to_owned(),
            route: None,
            client,
            status: None,
            sent: 0,
            is_complete: false,
            reason: None,
            failure: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A job that has answered with this status, and why it failed.
    fn answered(id: Option<u64>, status: u16, code: Option<&'static str>) -> HistoryEntry {
        let failure = |code| {
            Box::new(FailureSummary { code, message: String::new(), stack: String::new(), is_own: true })
        };
        let request = RequestSummary {
            status: Some(status),
            is_complete: true,
            failure: code.map(failure),
            ..RequestSummary::begun(Instant::now(), &Method::GET, "/", None)
        };
        let (ended, request) = (SystemTime::now(), Some(request));
        HistoryEntry { id, parent: None, trace: None, version: None, ended, job: None, request }
    }

    #[test]
    fn an_error_that_a_handler_answers_with_is_a_failure_and_no_other_status_is() {
        for (entry, outcome, has_failed) in [
            (answered(Some(1), 500, None), "answered 500", true),
            (answered(Some(1), 503, None), "answered 503", true),
            (answered(Some(1), 502, Some("trapped")), "trapped", true),
            (answered(Some(1), 404, None), "ok", false),
            (answered(None, 503, None), "ok", false),
        ] {
            assert_eq!((&*entry.outcome(), entry.has_failed()), (outcome, has_failed));
            assert_eq!(entry.is_well(), outcome == "ok");
        }
        let left = answered(Some(1), 200, None);
        let request = left.request.map(|request| RequestSummary { is_complete: false, ..request });
        assert_eq!(HistoryEntry { request, ..answered(None, 200, None) }.outcome(), "client_gone");
    }

    #[test]
    fn a_path_has_a_bounded_length() {
        let path = |path: &str| RequestSummary::begun(Instant::now(), &Method::GET, path, None).path;
        let long = format!("/{}", "é".repeat(PATH));
        assert_eq!((path(&long).len(), path("")), (PATH - 1, String::new()));
        for length in [PATH - 1, PATH, PATH + 1] {
            assert_eq!(path(&"x".repeat(length)), "x".repeat(length.min(PATH)));
        }
    }
}
