//! A trace in progress: the spans of one request and of all jobs that it starts.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::TraceState;
use opentelemetry::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};

use super::context::{self, TRACEPARENT, TRACESTATE};
use super::counts::DropReason;
use super::exporter::SpanQueue;
use super::guest_spans::GuestSpan;
use super::record::{
    CallSpan, FinishedTrace, JobSpan, JobTrigger, OperationSpan, OwnSpan, RequestSpan, SpanFacts, SpanRecord,
};

/// The most spans of calls, operations and guests in a trace.
const DETAILS: usize = 1024;

/// The same in a trace that is not sampled, and will be kept only if it fails.
const UNSAMPLED_DETAILS: usize = 64;

/// The most bytes of the spans of calls, operations and guests in a trace. The spans of called jobs may have as many. A
/// request may start dozens of jobs, and no guest is charged for this memory.
const BYTES: usize = 1 << 20;

/// A trace in progress. It ends when no request and no job of it is open.
struct Trace {
    queue: Arc<SpanQueue>,
    id: TraceId,
    is_sampled: bool,
    state: TraceState,
    has_failed: AtomicBool,
    /// The requests and jobs that have not ended.
    open: AtomicUsize,
    records: Mutex<TraceRecords>,
}

#[derive(Default)]
struct TraceRecords {
    ended: Vec<SpanRecord>,
    details: usize,
    detail_bytes: usize,
    /// The bytes of jobs that other jobs have called.
    called_bytes: usize,
    left_out: usize,
    is_finished: bool,
}

/// A place in a trace, below which other spans are. Clones are the same place.
#[derive(Clone)]
pub struct SpanRef {
    trace: Arc<Trace>,
    id: SpanId,
}

/// The span of a request or a job in progress. Dropping it without an end leaves the span out.
pub struct OpenSpan {
    place: SpanRef,
    parent: Option<SpanId>,
    /// Whether the parent is a span of another server.
    is_remote: bool,
    trigger: JobTrigger,
}

/// How a trace begins.
pub(super) struct TraceStart {
    pub(super) id: TraceId,
    pub(super) parent: Option<SpanId>,
    pub(super) is_sampled: bool,
    pub(super) state: TraceState,
}

impl TraceRecords {
    /// Takes room for a record, if there is as much. `max` is the number of details. The request, and the job that the
    /// trace began with, are kept in any case.
    fn take(&mut self, record: &SpanRecord, max: usize) -> bool {
        let is_detail = record.facts.is_detail();
        let taken = match is_detail {
            true => &mut self.detail_bytes,
            false if record.facts.is_called() => &mut self.called_bytes,
            false => return true,
        };
        let bytes = *taken + record.bytes();
        if bytes > BYTES || (is_detail && self.details >= max) {
            return false;
        }
        *taken = bytes;
        self.details += usize::from(is_detail);
        true
    }
}

impl Trace {
    fn add(&self, record: SpanRecord) {
        let mut records = self.lock();
        if records.is_finished {
            drop(records);
            // A call may end behind the job that has made it.
            self.send(vec![record]);
            return;
        }
        let max = if self.is_sampled { DETAILS } else { UNSAMPLED_DETAILS };
        if records.take(&record, max) {
            records.ended.push(record);
        } else {
            records.left_out += record.facts.spans();
        }
    }

    /// Ends a request or a job, and with the last one the trace.
    fn leave(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let mut records = self.lock();
        records.is_finished = true;
        let (ended, left_out) = (std::mem::take(&mut records.ended), std::mem::take(&mut records.left_out));
        drop(records);
        if left_out > 0 && self.is_kept() {
            self.queue.counts().dropped(DropReason::TraceLimit, left_out);
        }
        self.send(ended);
    }

    fn is_kept(&self) -> bool {
        self.is_sampled || self.has_failed.load(Ordering::Relaxed)
    }

    fn send(&self, records: Vec<SpanRecord>) {
        if self.is_kept() && !records.is_empty() {
            self.queue.send(FinishedTrace { id: self.id, state: self.state.clone(), records });
        }
    }

    fn lock(&self) -> MutexGuard<'_, TraceRecords> {
        // The records are consistent after every statement.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenSpan {
    /// Begins a trace.
    pub(super) fn root(queue: Arc<SpanQueue>, start: TraceStart, trigger: JobTrigger) -> OpenSpan {
        let TraceStart { id, parent, is_sampled, state } = start;
        let trace = Trace {
            queue,
            id,
            is_sampled,
            state,
            has_failed: AtomicBool::new(false),
            open: AtomicUsize::new(1),
            records: Mutex::default(),
        };
        let place = SpanRef { trace: Arc::new(trace), id: new_id() };
        OpenSpan { place, parent, is_remote: parent.is_some(), trigger }
    }

    /// Returns the place of the span.
    pub fn place(&self) -> &SpanRef {
        &self.place
    }

    /// Ends the span of a request.
    pub fn end_request(self, request: RequestSpan) {
        self.ends(request.is_failed);
        self.record(SpanFacts::Request(Box::new(request)));
    }

    /// Ends the span of a job.
    pub fn end_job(self, job: JobSpan) {
        self.ends(job.is_own_failure);
        self.record(SpanFacts::Job(self.trigger, Box::new(job)));
    }

    fn ends(&self, is_failed: bool) {
        if is_failed {
            self.place.trace.has_failed.store(true, Ordering::Relaxed);
        }
    }

    fn record(&self, facts: SpanFacts) {
        let OpenSpan { place, parent, is_remote, .. } = self;
        place.trace.add(SpanRecord { id: place.id, parent: *parent, is_remote: *is_remote, facts });
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        self.place.trace.leave();
    }
}

impl SpanRef {
    /// Returns the trace.
    pub fn trace_id(&self) -> TraceId {
        self.trace.id
    }

    /// Returns the span.
    pub fn id(&self) -> SpanId {
        self.id
    }

    /// Reports whether the trace is kept in any case.
    pub fn is_sampled(&self) -> bool {
        self.trace.is_sampled
    }

    /// Reports whether the trace will be sent: it is sampled, or something in it has failed already.
    pub fn is_kept(&self) -> bool {
        self.trace.is_kept()
    }

    /// Returns the `traceparent` for what is below this span.
    pub fn traceparent(&self) -> String {
        context::written(self.trace.id, self.id, self.trace.is_sampled)
    }

    /// Returns the `tracestate` of the trace. `None` if there is none.
    pub fn tracestate(&self) -> Option<String> {
        (self.trace.state != TraceState::NONE).then(|| self.trace.state.header())
    }

    /// Names the span as the caller in the fields of a request. Replaces the fields that are there.
    pub fn put(&self, fields: &mut HeaderMap) {
        fields.remove(TRACESTATE);
        for (name, value) in [(TRACEPARENT, Some(self.traceparent())), (TRACESTATE, self.tracestate())] {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                fields.insert(name, value);
            }
        }
    }

    /// Returns the members of `tracestate`.
    pub fn state(&self) -> Vec<(String, String)> {
        let members = (&self.trace.state).into_iter();
        members.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// Returns another span of the trace as a place.
    pub fn at(&self, id: SpanId) -> SpanRef {
        SpanRef { trace: self.trace.clone(), id }
    }

    /// Returns the place that a `traceparent` of a guest names, if it is one of this trace, and otherwise this one.
    pub fn or_named(&self, traceparent: Option<&str>) -> SpanRef {
        let named = traceparent.and_then(context::parse).filter(|(trace, ..)| *trace == self.trace.id);
        named.map_or_else(|| self.clone(), |(_, span, _)| self.at(span))
    }

    /// Returns the place of a new span below this one.
    pub fn below(&self) -> SpanRef {
        self.at(new_id())
    }

    /// Opens the span of a job below this one.
    pub fn open(&self, trigger: JobTrigger) -> OpenSpan {
        self.trace.open.fetch_add(1, Ordering::AcqRel);
        OpenSpan { place: self.below(), parent: Some(self.id), is_remote: false, trigger }
    }

    /// Records a call to another server, which was below `parent`.
    pub fn call_ended(&self, parent: SpanId, call: CallSpan) {
        self.add(self.id, Some(parent), SpanFacts::Call(Box::new(call)));
    }

    /// Records an operation below this span.
    pub fn operation_ended(&self, operation: OperationSpan) {
        self.add(new_id(), Some(self.id), SpanFacts::Operation(Box::new(operation)));
    }

    /// Records a span that a guest of this handler has made in its job, whose span this is. The caller has bounded it.
    pub(super) fn guest_ended(&self, (span, bytes): (GuestSpan, usize), handler: Arc<str>) {
        let (id, parent) = (span.id, span.parent.unwrap_or(self.id));
        let own = OwnSpan { span, bytes, handler };
        self.add(id, Some(parent), SpanFacts::Guest(Box::new(own)));
    }

    /// Counts a span of a guest that is left out.
    pub(super) fn left_out(&self) {
        self.trace.queue.counts().dropped(DropReason::TraceLimit, 1);
    }

    fn add(&self, id: SpanId, parent: Option<SpanId>, facts: SpanFacts) {
        self.trace.add(SpanRecord { id, parent, is_remote: false, facts });
    }
}

impl fmt::Debug for SpanRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traceparent())
    }
}

fn new_id() -> SpanId {
    RandomIdGenerator::default().new_span_id()
}
