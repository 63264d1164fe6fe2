//! The facts of a span, kept until its trace has ended; the exporter makes spans from them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::trace::TraceState;
use opentelemetry::{SpanId, TraceId};

use super::guest_spans::GuestSpan;
use crate::observe::history::{JobDurations, RequestSummary, VersionLabel};

/// A span of a request: the request itself, and its way through the gates.
pub struct RequestSpan {
    /// The request.
    pub summary: RequestSummary,
    /// When its job was made. `None` without a job.
    pub job_made: Option<Instant>,
    /// Whether it came over TLS.
    pub is_secure: bool,
    /// Whether the handler or the daemon has failed.
    pub is_failed: bool,
}

/// A job: its run, with the queue, the instance and the guest.
pub struct JobSpan {
    /// The handler version.
    pub version: Arc<VersionLabel>,
    /// The number of the job.
    pub job: u64,
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
    /// Its exit status.
    pub status: u8,
    /// The code and the message of its failure.
    pub failure: Option<(&'static str, String)>,
    /// Whether the handler or the daemon is to blame for the failure.
    pub is_own_failure: bool,
}

/// What has started a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobTrigger {
    /// A request.
    Request,
    /// Its schedule.
    Timer,
    /// Another job.
    Call,
}

/// A request of a job to another server.
pub struct CallSpan {
    /// When it began.
    pub started: Instant,
    /// When it ended, with its response.
    pub ended: Instant,
    /// The method.
    pub method: http::Method,
    /// The scheme, host and port, without path and query.
    pub origin: String,
    /// The host.
    pub host: String,
    /// The port. `None` if the URL names none and its scheme has none.
    pub port: Option<u16>,
    /// The status of the response.
    pub status: Option<u16>,
    /// How it ended, as metrics label it.
    pub outcome: &'static str,
    /// Whether there was a response.
    pub is_answered: bool,
}

/// An operation of a job on a store or a database.
pub struct OperationSpan {
    /// `store` or `database`.
    pub system: &'static str,
    /// The name under which the job opened it.
    pub name: String,
    /// When it began.
    pub started: Instant,
    /// When it ended.
    pub ended: Instant,
    /// What it does, where that is known.
    pub operation: Option<&'static str>,
    /// The code of its failure.
    pub failure: Option<&'static str>,
}

/// A span of a guest, and its job.
pub(super) struct OwnSpan {
    pub(super) span: GuestSpan,
    /// The bytes that it takes.
    pub(super) bytes: usize,
    pub(super) handler: Arc<str>,
}

/// What happened in a span.
pub(super) enum SpanFacts {
    Request(Box<RequestSpan>),
    Job(JobTrigger, Box<JobSpan>),
    Call(Box<CallSpan>),
    Operation(Box<OperationSpan>),
    Guest(Box<OwnSpan>),
}

/// A span that has ended.
pub(super) struct SpanRecord {
    pub(super) id: SpanId,
    /// The span below which it is.
    pub(super) parent: Option<SpanId>,
    /// Whether that span is one of another server.
    pub(super) is_remote: bool,
    pub(super) facts: SpanFacts,
}

/// A trace, or a part of one, that is to be sent.
pub(super) struct FinishedTrace {
    pub(super) id: TraceId,
    pub(super) state: TraceState,
    pub(super) records: Vec<SpanRecord>,
}

impl SpanFacts {
    /// Reports whether a trace holds a bounded number of such spans only.
    pub(super) fn is_detail(&self) -> bool {
        match self {
            SpanFacts::Request(_) | SpanFacts::Job(..) => false,
            SpanFacts::Call(_) | SpanFacts::Operation(_) | SpanFacts::Guest(_) => true,
        }
    }

    /// Reports whether it is the span of a job that another job has called.
    pub(super) fn is_called(&self) -> bool {
        matches!(self, SpanFacts::Job(JobTrigger::Call, _))
    }

    /// Returns the bytes that they take.
    fn bytes(&self) -> usize {
        match self {
            SpanFacts::Request(request) => size_of::<RequestSpan>() + request.summary.text_bytes(),
            SpanFacts::Job(_, job) => {
                size_of::<JobSpan>() + job.failure.as_ref().map_or(0, |(_, message)| message.capacity())
            }
            SpanFacts::Call(call) => {
                size_of::<CallSpan>()
                    + call.method.as_str().len()
                    + call.origin.capacity()
                    + call.host.capacity()
            }
            SpanFacts::Operation(operation) => size_of::<OperationSpan>() + operation.name.capacity(),
            SpanFacts::Guest(own) => size_of::<OwnSpan>() - size_of::<GuestSpan>() + own.bytes,
        }
    }

    /// Returns how many spans they become, at most.
    pub(super) fn spans(&self) -> usize {
        match self {
            SpanFacts::Request(_) => 2,
            SpanFacts::Job(..) => 4,
            SpanFacts::Call(_) | SpanFacts::Operation(_) | SpanFacts::Guest(_) => 1,
        }
    }
}

impl SpanRecord {
    /// Returns the bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<SpanRecord>() + self.facts.bytes()
    }
}

impl FinishedTrace {
    /// Returns how many spans it becomes, at most.
    pub(super) fn spans(&self) -> usize {
        self.records.iter().map(|record| record.facts.spans()).sum()
    }

    /// Returns the bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.records.iter().map(SpanRecord::bytes).sum()
    }
}
