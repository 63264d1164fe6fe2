//! `wasi:otel/tracing@0.2.0-rc.2`: spans that components make themselves, below the span of their job.
//!
//! The logs and metrics of the package are not provided: a component that imports them is refused when it is loaded.

use std::time::{Duration, SystemTime};

use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker};

use self::wasi::otel::tracing::{
    self, Datetime, Event, KeyValue, Link, SpanContext, SpanData, SpanKind, Status, TraceFlags,
};
use super::component_state::State;
use crate::observe::traces::{
    GuestEvent, GuestLink, GuestSpan, GuestSpanKind, GuestSpanStatus, SpanId, SpanRef, span_id, trace_id,
};

wasmtime::component::bindgen!({
    inline: "
        package wasi:otel@0.2.0-rc.2;

        // The types are those of `wasi:otel/types` and `wasi:clocks/wall-clock`: a type is told by its form.
        interface tracing {
            record datetime { seconds: u64, nanoseconds: u32 }
            record key-value { key: string, value: string }
            record instrumentation-scope {
                name: string,
                version: option<string>,
                schema-url: option<string>,
                attributes: list<key-value>,
            }

            on-start: func(context: span-context);
            on-end: func(span: span-data);
            current-span-context: func() -> span-context;

            record span-data {
                span-context: span-context,
                parent-span-id: string,
                span-kind: span-kind,
                name: string,
                start-time: datetime,
                end-time: datetime,
                attributes: list<key-value>,
                events: list<event>,
                links: list<link>,
                status: status,
                instrumentation-scope: instrumentation-scope,
                dropped-attributes: u32,
                dropped-events: u32,
                dropped-links: u32,
            }
            record span-context {
                trace-id: string,
                span-id: string,
                trace-flags: trace-flags,
                is-remote: bool,
                trace-state: list<tuple<string, string>>,
            }
            flags trace-flags { sampled }
            enum span-kind { client, server, producer, consumer, internal }
            record event { name: string, time: datetime, attributes: list<key-value> }
            record link { span-context: span-context, attributes: list<key-value> }
            variant status { unset, ok, error(string) }
        }

        world imports { import tracing; }
    ",
    imports: { default: trappable },
});

/// Adds the interface to a linker.
pub(in crate::wasm) fn link(linker: &mut Linker<State>) -> Result<()> {
    tracing::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

impl tracing::Host for State {
    fn on_start(&mut self, context: SpanContext) -> Result<()> {
        let spans = &self.meter.usage().spans;
        if let Some(id) = own(spans.job(), &context) {
            spans.guest_began(id);
        }
        Ok(())
    }

    /// Records a span. A span of another trace is none of this job, and is left out.
    fn on_end(&mut self, span: SpanData) -> Result<()> {
        let spans = &self.meter.usage().spans;
        if let Some(id) = own(spans.job(), &span.span_context) {
            spans.guest_ended(converted(id, span));
        }
        Ok(())
    }

    /// Returns the innermost span. Its ids are all 0 if the job is not traced, which SDKs take for no parent.
    fn current_span_context(&mut self) -> Result<SpanContext> {
        let Some(span) = self.meter.usage().spans.innermost() else {
            return Ok(SpanContext {
                trace_id: "0".repeat(32),
                span_id: "0".repeat(16),
                trace_flags: TraceFlags::empty(),
                is_remote: false,
                trace_state: Vec::new(),
            });
        };
        Ok(SpanContext {
            trace_id: span.trace_id().to_string(),
            span_id: span.id().to_string(),
            trace_flags: if span.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::empty() },
            is_remote: false,
            trace_state: span.state(),
        })
    }
}

/// Returns the id of a span if it is one of the trace of its job.
fn own(job: Option<&SpanRef>, context: &SpanContext) -> Option<SpanId> {
    let trace = trace_id(&context.trace_id)?;
    job.filter(|job| job.trace_id() == trace).and_then(|_| span_id(&context.span_id))
}

fn converted(id: SpanId, span: SpanData) -> GuestSpan {
    GuestSpan {
        id,
        parent: span_id(&span.parent_span_id),
        kind: match span.span_kind {
            SpanKind::Client => GuestSpanKind::Client,
            SpanKind::Server => GuestSpanKind::Server,
            SpanKind::Producer => GuestSpanKind::Producer,
            SpanKind::Consumer => GuestSpanKind::Consumer,
            SpanKind::Internal => GuestSpanKind::Internal,
        },
        name: span.name,
        start: time(span.start_time),
        end: time(span.end_time),
        attributes: pairs(span.attributes),
        events: span.events.into_iter().map(event).collect(),
        links: span.links.into_iter().filter_map(linked).collect(),
        status: match span.status {
            Status::Unset => GuestSpanStatus::Unset,
            Status::Ok => GuestSpanStatus::Ok,
            Status::Error(description) => GuestSpanStatus::Error(description),
        },
        scope: span.instrumentation_scope.name,
        scope_version: span.instrumentation_scope.version,
        dropped: [span.dropped_attributes, span.dropped_events, span.dropped_links],
    }
}

fn event(Event { name, time: at, attributes }: Event) -> GuestEvent {
    GuestEvent { name, time: time(at), attributes: pairs(attributes) }
}

fn linked(Link { span_context, attributes }: Link) -> Option<GuestLink> {
    let (trace, span) = (trace_id(&span_context.trace_id)?, span_id(&span_context.span_id)?);
    Some(GuestLink { trace, span, attributes: pairs(attributes) })
}

fn pairs(attributes: Vec<KeyValue>) -> Vec<(String, String)> {
    attributes.into_iter().map(|KeyValue { key, value }| (key, value)).collect()
}

/// Converts a time of a guest, which may be any number.
fn time(Datetime { seconds, nanoseconds }: Datetime) -> SystemTime {
    let since = Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanoseconds.into()));
    since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since)).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_be_any_number() {
        let at = |seconds, nanoseconds| time(Datetime { seconds, nanoseconds });

        assert_eq!(at(1, 500_000_000), SystemTime::UNIX_EPOCH + Duration::from_millis(1500));
        assert_eq!(at(u64::MAX, u32::MAX), SystemTime::UNIX_EPOCH);
    }
}
