//! Makes spans of its own: in its job's trace, in another trace, and more than a job may.

use std::process::ExitCode;

#[cfg(target_env = "p2")]
mod otel {
    wit_bindgen::generate!({
        inline: "
            package test:otel;
            world spans { import wasi:otel/tracing@0.2.0-rc.2; }
            package wasi:otel@0.2.0-rc.2 {
                interface types {
                    record key-value { key: key, value: value }
                    type key = string;
                    type value = string;
                    record instrumentation-scope {
                        name: string,
                        version: option<string>,
                        schema-url: option<string>,
                        attributes: list<key-value>,
                    }
                }
                interface tracing {
                    // That of `wasi:clocks/wall-clock`, which the program has from its standard library as well.
                    record datetime { seconds: u64, nanoseconds: u32 }
                    use types.{key-value, instrumentation-scope};
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
                        trace-id: trace-id,
                        span-id: span-id,
                        trace-flags: trace-flags,
                        is-remote: bool,
                        trace-state: trace-state,
                    }
                    type trace-id = string;
                    type span-id = string;
                    flags trace-flags { sampled }
                    type trace-state = list<tuple<string, string>>;
                    enum span-kind { client, server, producer, consumer, internal }
                    record event { name: string, time: datetime, attributes: list<key-value> }
                    record link { span-context: span-context, attributes: list<key-value> }
                    variant status { unset, ok, error(string) }
                }
            }
        ",
        world: "test:otel/spans",
        generate_all,
    });
}

#[cfg(target_env = "p2")]
fn act() {
    use otel::wasi::otel::tracing::{self, Datetime, SpanContext, SpanData, SpanKind, Status};
    use otel::wasi::otel::types::{InstrumentationScope, KeyValue};

    let scope = || InstrumentationScope {
        name: "guest".to_owned(),
        version: Some("1".to_owned()),
        schema_url: None,
        attributes: Vec::new(),
    };
    let pair = |key: &str, value: &str| KeyValue { key: key.to_owned(), value: value.to_owned() };
    let ended = |context: SpanContext, parent: &str, name: &str| SpanData {
        span_context: context,
        parent_span_id: parent.to_owned(),
        span_kind: SpanKind::Internal,
        name: name.to_owned(),
        start_time: Datetime { seconds: 1, nanoseconds: 0 },
        end_time: Datetime { seconds: u64::MAX, nanoseconds: u32::MAX },
        attributes: vec![pair("rows", "3"), pair("faas.name", "\"forged\"")],
        events: Vec::new(),
        links: Vec::new(),
        status: Status::Error("no rows".to_owned()),
        instrumentation_scope: scope(),
        dropped_attributes: 0,
        dropped_events: 0,
        dropped_links: 0,
    };
    let job = tracing::current_span_context();
    println!("{} {} {}", job.trace_id, job.span_id, job.trace_flags.contains(tracing::TraceFlags::SAMPLED));
    let id = |number: usize| format!("{number:016x}");
    let at = |number: usize| SpanContext { span_id: id(number), ..job.clone() };
    tracing::on_start(&at(1));
    println!("{}", tracing::current_span_context().span_id == id(1));
    tracing::on_end(&ended(at(1), &job.span_id, "own"));
    println!("{}", tracing::current_span_context().span_id == job.span_id);
    let other = SpanContext { trace_id: "4".repeat(32), ..at(2) };
    tracing::on_end(&ended(other, &job.span_id, "of another trace"));
    for number in 3..300 {
        tracing::on_end(&ended(at(number), &id(1), "one of many"));
    }
}

#[cfg(not(target_env = "p2"))]
fn act() {
    println!("only a component can make spans");
}

fn main() -> ExitCode {
    act();
    ExitCode::SUCCESS
}
