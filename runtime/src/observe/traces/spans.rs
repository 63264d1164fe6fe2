//! Makes the spans of OpenTelemetry from the facts, with the names of its semantic conventions for HTTP and FaaS.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::{Instant, SystemTime};

use http::Method;
use opentelemetry::trace::{Event, Link, SpanContext, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, SpanId, StringValue, TraceId, Value};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};

use super::guest_spans::{GuestEvent, GuestLink, GuestSpanKind, GuestSpanStatus};
use super::record::{
    CallSpan, FinishedTrace, JobSpan, JobTrigger, OperationSpan, OwnSpan, RequestSpan, SpanFacts, SpanRecord,
};
use crate::observe::{brief, build_versions};

/// The source of the daemon's own spans.
static SCOPE: LazyLock<InstrumentationScope> = LazyLock::new(|| {
    InstrumentationScope::builder("portcullis").with_version(build_versions::VERSION).build()
});

/// The most bytes of a method that is not one of [`METHODS`].
const METHOD: usize = 32;

/// The methods that a span may name. Others are `_OTHER`, so that clients cannot make names.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Makes the spans of one trace.
struct SpanMaker {
    trace: TraceId,
    state: TraceState,
    /// One moment on both clocks.
    now: (Instant, SystemTime),
    ids: RandomIdGenerator,
}

/// The times of a span.
type Between = (Instant, Instant);

impl FinishedTrace {
    /// Makes the spans, one after the other.
    pub(super) fn into_spans(self) -> impl Iterator<Item = SpanData> {
        let FinishedTrace { id, state, records } = self;
        let now = (Instant::now(), SystemTime::now());
        let maker = SpanMaker { trace: id, state, now, ids: RandomIdGenerator::default() };
        records.into_iter().flat_map(move |record| maker.spans(record))
    }
}

impl SpanMaker {
    fn spans(&self, record: SpanRecord) -> Vec<SpanData> {
        let SpanRecord { id, parent, is_remote, facts } = record;
        let mut spans = match facts {
            SpanFacts::Request(request) => self.request(id, *request),
            SpanFacts::Job(trigger, job) => self.job(id, trigger, *job),
            SpanFacts::Call(call) => vec![self.call(id, *call)],
            SpanFacts::Operation(operation) => vec![self.operation(id, *operation)],
            SpanFacts::Guest(guest) => vec![self.guest(id, *guest)],
        };
        if let Some(first) = spans.first_mut() {
            first.parent_span_id = parent.unwrap_or(SpanId::INVALID);
            first.parent_span_is_remote = is_remote;
        }
        spans
    }

    /// Makes the span of a request, and the one of its way to its job.
    fn request(&self, id: SpanId, request: RequestSpan) -> Vec<SpanData> {
        let RequestSpan { summary, job_made, is_secure, is_failed } = request;
        let method = method(&summary.method);
        let name = match (&summary.route, method) {
            // A method that is not known is not in the name either.
            (Some(route), "_OTHER") => format!("HTTP {route}"),
            (None, "_OTHER") => "HTTP".to_owned(),
            (Some(route), method) => format!("{method} {route}"),
            (None, method) => method.to_owned(),
        };
        let mut span = self.span(id, name, (summary.accepted, summary.ended));
        span.span_kind = SpanKind::Server;
        span.attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("url.scheme", if is_secure { "https" } else { "http" }),
            KeyValue::new("url.path", summary.path),
            KeyValue::new("http.response.body.size", number(summary.sent)),
        ];
        let mut add = |key: &'static str, value: Option<Value>| {
            span.attributes.extend(value.map(|value| KeyValue::new(key, value)));
        };
        let original = (method == "_OTHER").then(|| Value::from(brief(&summary.method, METHOD)));
        add("http.request.method_original", original);
        add("http.route", summary.route.map(|route| Value::from(route.to_string())));
        add("client.address", summary.client.map(|client| Value::from(client.to_string())));
        add("http.response.status_code", summary.status.map(|status| Value::from(i64::from(status))));
        add("portcullis.refusal", summary.reason.map(Value::from));
        let failure = summary.failure.map(|failure| (failure.code, failure.message));
        let status = summary.status.map_or_else(|| "broken_off".to_owned(), |status| status.to_string());
        let error = failure.as_ref().map_or(status, |(code, _)| (*code).to_owned());
        add("error.type", is_failed.then(|| Value::from(error)));
        if is_failed {
            let message = failure.map(|(_, message)| message).unwrap_or_default();
            span.status = Status::error(message);
        }
        let gate = job_made.map(|made| self.part(id, "gate", (summary.accepted, made)));
        std::iter::once(span).chain(gate).collect()
    }

    /// Makes the span of a job, and those of its parts.
    fn job(&self, id: SpanId, trigger: JobTrigger, job: JobSpan) -> Vec<SpanData> {
        let parts = job.parts;
        // A job without a slot has waited until it ended.
        let slot = job.started.unwrap_or(job.ended);
        let begun = slot.checked_sub(parts.queue).unwrap_or(slot);
        let mut span = self.span(id, job.version.handler.clone(), (begun, job.ended));
        let trigger = match trigger {
            JobTrigger::Request => "http",
            JobTrigger::Timer => "timer",
            JobTrigger::Call => "other",
        };
        span.attributes = vec![
            KeyValue::new("faas.name", job.version.handler.clone()),
            KeyValue::new("faas.version", job.version.version.clone()),
            KeyValue::new("faas.trigger", trigger),
            KeyValue::new("faas.invocation_id", format!("{:016x}", job.job)),
            KeyValue::new("process.exit.code", i64::from(job.status)),
            KeyValue::new("portcullis.kind", job.version.kind.clone()),
            KeyValue::new("portcullis.cpu_time", job.cpu.as_secs_f64()),
            KeyValue::new("portcullis.memory", number(job.memory as u64)),
        ];
        if let Some((code, message)) = job.failure {
            span.attributes.push(KeyValue::new("error.type", code));
            span.status = Status::error(message);
        }
        let ready = parts.instantiate.map(|time| slot + time);
        let mut spans = vec![span, self.part(id, "queue", (begun, slot))];
        spans.extend(ready.map(|ready| self.part(id, "instantiate", (slot, ready))));
        let guest = ready.zip(parts.guest).map(|(ready, time)| (ready, ready + time));
        spans.extend(guest.map(|times| self.part(id, "guest", times)));
        spans
    }

    /// Makes the span of a request to another server.
    fn call(&self, id: SpanId, call: CallSpan) -> SpanData {
        let method = method(&call.method);
        let mut span = self.span(id, method, (call.started, call.ended));
        span.span_kind = SpanKind::Client;
        span.attributes = vec![
            KeyValue::new("http.request.method", method),
            // Without path and query, which may hold credentials.
            KeyValue::new("url.full", call.origin),
            KeyValue::new("server.address", call.host),
        ];
        span.attributes.extend(call.port.map(|port| KeyValue::new("server.port", i64::from(port))));
        let status = call.status.map(i64::from);
        span.attributes.extend(status.map(|status| KeyValue::new("http.response.status_code", status)));
        // For a client, a status of 4xx is an error too.
        let error = match call.status {
            Some(status) if status >= 400 => Some(Cow::from(status.to_string())),
            _ if call.is_answered => None,
            Some(_) | None => Some(Cow::from(call.outcome)),
        };
        if let Some(error) = error {
            span.attributes.push(KeyValue::new("error.type", error.into_owned()));
            span.status = Status::error("");
        }
        span
    }

    /// Makes the span of an operation on a store or a database.
    fn operation(&self, id: SpanId, operation: OperationSpan) -> SpanData {
        let OperationSpan { system, name, started, ended, operation, failure } = operation;
        let what = operation.unwrap_or(system);
        let mut span = self.span(id, format!("{what} {name}"), (started, ended));
        span.span_kind = SpanKind::Client;
        span.attributes = vec![KeyValue::new("db.system.name", system), KeyValue::new("db.namespace", name)];
        span.attributes.extend(operation.map(|name| KeyValue::new("db.operation.name", name)));
        if let Some(code) = failure {
            span.attributes.push(KeyValue::new("error.type", code));
            span.status = Status::error("");
        }
        span
    }

    /// Makes the span that a guest has made. What says whose it is, is the daemon's word.
    fn guest(&self, id: SpanId, OwnSpan { span: guest, handler, .. }: OwnSpan) -> SpanData {
        let now = self.now.0;
        let mut span = self.span(id, guest.name, (now, now));
        (span.start_time, span.end_time) = (guest.start, guest.end);
        span.span_kind = match guest.kind {
            GuestSpanKind::Client => SpanKind::Client,
            GuestSpanKind::Server => SpanKind::Server,
            GuestSpanKind::Producer => SpanKind::Producer,
            GuestSpanKind::Consumer => SpanKind::Consumer,
            GuestSpanKind::Internal => SpanKind::Internal,
        };
        let own = guest.attributes.into_iter().filter(|(key, _)| key != "faas.name");
        span.attributes = attributes(own);
        span.attributes.push(KeyValue::new("faas.name", handler.to_string()));
        span.status = match guest.status {
            GuestSpanStatus::Unset => Status::Unset,
            GuestSpanStatus::Ok => Status::Ok,
            GuestSpanStatus::Error(message) => Status::error(message),
        };
        let [attributes_lost, events_lost, links_lost] = guest.dropped;
        span.dropped_attributes_count = attributes_lost;
        let event = |event: GuestEvent| Event::new(event.name, event.time, attributes(event.attributes), 0);
        span.events.events = guest.events.into_iter().map(event).collect();
        span.events.dropped_count = events_lost;
        let link = |link: GuestLink| {
            let context =
                SpanContext::new(link.trace, link.span, TraceFlags::default(), true, TraceState::NONE);
            Link::new(context, attributes(link.attributes), 0)
        };
        span.links.links = guest.links.into_iter().map(link).collect();
        span.links.dropped_count = links_lost;
        let scope = InstrumentationScope::builder(guest.scope);
        span.instrumentation_scope = match guest.scope_version {
            Some(version) => scope.with_version(version).build(),
            None => scope.build(),
        };
        span
    }

    /// Makes a span below another one of this trace.
    fn part(&self, parent: SpanId, name: &'static str, times: Between) -> SpanData {
        SpanData { parent_span_id: parent, ..self.span(self.ids.new_span_id(), name, times) }
    }

    fn span(&self, id: SpanId, name: impl Into<Cow<'static, str>>, (start, end): Between) -> SpanData {
        SpanData {
            // What is sent is sampled, if only because it has failed.
            span_context: SpanContext::new(self.trace, id, TraceFlags::SAMPLED, false, self.state.clone()),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: self.at(start),
            end_time: self.at(end),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: SCOPE.clone(),
        }
    }

    /// Converts a time to the clock of the system.
    fn at(&self, time: Instant) -> SystemTime {
        let (instant, system) = self.now;
        system.checked_sub(instant.saturating_duration_since(time)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// Returns the method, or `_OTHER` if it is none of HTTP's own.
fn method(method: &Method) -> &'static str {
    METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Converts the attributes of a guest, whose values are JSON.
fn attributes(written: impl IntoIterator<Item = (String, String)>) -> Vec<KeyValue> {
    written.into_iter().map(|(key, value)| KeyValue::new(key, value_of(value))).collect()
}

/// Converts a value. What has no type of OpenTelemetry's stays text.
fn value_of(text: String) -> Value {
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(serde_json::Value::Bool(switch)) => Value::from(switch),
        Ok(serde_json::Value::String(inner)) => Value::from(inner),
        Ok(serde_json::Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(real)) => Value::from(real),
            (None, None) => Value::from(text),
        },
        Ok(serde_json::Value::Array(list)) => {
            let texts: Option<Vec<StringValue>> =
                list.iter().map(|one| one.as_str().map(|one| StringValue::from(one.to_owned()))).collect();
            texts.map_or_else(|| Value::from(text), |texts| Value::Array(Array::String(texts)))
        }
        Ok(serde_json::Value::Null | serde_json::Value::Object(_)) | Err(_) => Value::from(text),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::history::{JobDurations, RequestSummary, VersionLabel};

    const SECOND: Duration = Duration::from_secs(1);

    fn spans(id: u64, facts: SpanFacts) -> Vec<SpanData> {
        let record =
            SpanRecord { id: SpanId::from(id), parent: Some(SpanId::from(7)), is_remote: true, facts };
        let (id, state) = (TraceId::from(9), TraceState::NONE);
        FinishedTrace { id, state, records: vec![record] }.into_spans().collect()
    }

    fn attribute(span: &SpanData, key: &str) -> Option<String> {
        let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key)?;
        Some(found.value.to_string())
    }

    fn seconds(span: &SpanData) -> Duration {
        span.end_time.duration_since(span.start_time).unwrap()
    }

    #[test]
    fn the_parts_of_a_job_are_below_it_and_follow_one_another() {
        let version = VersionLabel {
            handler: "hello".to_owned(),
            version: "1f3a".to_owned(),
            kind: "wasip1".to_owned(),
        };
        // All of it is past, as when it is sent.
        let started = Instant::now() - 10 * SECOND;
        let job = JobSpan {
            version: version.into(),
            job: 0xe5,
            started: Some(started),
            ended: started + 5 * SECOND,
            parts: JobDurations { queue: SECOND, instantiate: Some(2 * SECOND), guest: Some(3 * SECOND) },
            cpu: SECOND,
            memory: 65536,
            status: 134,
            failure: Some(("trapped", "unreachable".to_owned())),
            is_own_failure: true,
        };

        let all = spans(1, SpanFacts::Job(JobTrigger::Timer, Box::new(job)));

        let named: Vec<_> = all.iter().map(|span| (&*span.name, seconds(span).as_secs())).collect();
        assert_eq!(named, [("hello", 6), ("queue", 1), ("instantiate", 2), ("guest", 3)]);
        assert_eq!((all[0].parent_span_id, all[0].parent_span_is_remote), (SpanId::from(7), true));
        assert!(all[1..].iter().all(|span| span.parent_span_id == SpanId::from(1)));
        for (key, value) in [
            ("faas.name", "hello"),
            ("faas.trigger", "timer"),
            ("faas.invocation_id", "00000000000000e5"),
            ("error.type", "trapped"),
        ] {
            assert_eq!(attribute(&all[0], key).as_deref(), Some(value), "{key}");
        }
        assert_eq!(all[0].status, Status::error("unreachable"));
    }

    #[test]
    fn a_request_names_its_route_and_no_method_of_a_client() {
        let method = Method::from_bytes(b"MADE-UP").unwrap();
        let mut summary = RequestSummary::begun(Instant::now(), &method, "/a", "192.0.2.1".parse().ok());
        summary.route = Some("/{x}".into());
        summary.status = Some(502);
        let request = RequestSpan { summary, job_made: None, is_secure: true, is_failed: true };

        let all = spans(1, SpanFacts::Request(Box::new(request)));

        assert_eq!((all.len(), &*all[0].name), (1, "HTTP /{x}"));
        for (key, value) in [
            ("http.request.method", "_OTHER"),
            ("http.request.method_original", "MADE-UP"),
            ("url.path", "/a"),
            ("url.scheme", "https"),
            ("http.route", "/{x}"),
            ("http.response.status_code", "502"),
            ("client.address", "192.0.2.1"),
            ("error.type", "502"),
        ] {
            assert_eq!(attribute(&all[0], key).as_deref(), Some(value), "{key}");
        }
    }

    #[test]
    fn values_of_guests_have_the_types_of_their_json() {
        let value = |text: &str| value_of(text.to_owned());

        assert_eq!(value("true"), Value::Bool(true));
        assert_eq!((value("-3"), value("0.5")), (Value::I64(-3), Value::F64(0.5)));
        assert_eq!(value("\"a\""), Value::from("a"));
        assert_eq!(value("[\"a\",\"b\"]"), Value::Array(Array::String(vec!["a".into(), "b".into()])));
        for odd in ["{\"a\":1}", "[1,\"a\"]", "not json", "null"] {
            assert_eq!(value(odd), Value::from(odd.to_owned()));
        }
    }
}
