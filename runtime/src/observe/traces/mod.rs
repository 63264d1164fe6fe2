//! Traces: the spans of requests and jobs, and their way to a collector (OpenTelemetry over OTLP).
//!
//! A trace is open while a request or a job of it is. Each of them records its span at its end, from the facts that the
//! history and the access log have too. When the last one has ended, the trace goes to the exporter if it is sampled or
//! has failed, and is dropped otherwise. Spans are assembled by the exporter's task, and not by the request.
//!
//! Floors, lowest first: `collector_fields`, `collector_reply`, `context`, `counts`, `guest_spans`, `resource`; `record`,
//! `settings`; `otlp`, `spans`; `exporter`; `trace`; `job_spans`, `tracer`.

mod collector_fields;
mod collector_reply;
mod context;
mod counts;
mod exporter;
mod guest_spans;
mod job_spans;
mod otlp;
mod record;
mod resource;
mod settings;
mod spans;
mod trace;
mod tracer;

pub use context::{RemoteParent, TRACEPARENT, TRACESTATE, span_id, trace_id};
pub use counts::{DropReason, TraceCounts};
pub use guest_spans::{GuestEvent, GuestLink, GuestSpan, GuestSpanKind, GuestSpanStatus};
pub use job_spans::JobSpans;
pub use opentelemetry::{SpanId, TraceId};
pub use otlp::SpanTransport;
pub use record::{CallSpan, JobSpan, JobTrigger, OperationSpan, RequestSpan};
pub use settings::{TraceOptions, TraceSettings, TraceTrust};
pub use trace::{OpenSpan, SpanRef};
pub use tracer::{Tracer, Tracing};
