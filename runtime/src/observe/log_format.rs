//! The format of the log: text, or a JSON object a line. It can change while the daemon runs.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};
use tracing::field::{DisplayValue, Field, Visit, display};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::plain;

/// The longest message or field of a line, in bytes. It is longer than any text of this crate and than the limits on
/// untrusted text: the last bound, for text that was cut nowhere else.
const LONGEST: usize = 32 << 10;

/// The format of the log.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum LogFormat {
    /// A line of text for each event.
    #[default]
    Text,
    /// A JSON object for each event.
    Json,
}

/// Whether events are written as JSON.
static IS_JSON: AtomicBool = AtomicBool::new(false);

impl LogFormat {
    /// Writes events in this format from now on.
    pub fn apply(self) {
        IS_JSON.store(self == LogFormat::Json, Ordering::Relaxed);
    }

    /// Returns the format in effect.
    pub(super) fn current() -> LogFormat {
        if IS_JSON.load(Ordering::Relaxed) { LogFormat::Json } else { LogFormat::Text }
    }
}

/// Returns a value as a field of an event, in JSON alone. A line of text goes without it, so that it stays short.
pub fn json_field<T: fmt::Display>(value: Option<T>) -> Option<DisplayValue<T>> {
    value.filter(|_| LogFormat::current() == LogFormat::Json).map(display)
}

/// Formats events in the format that was applied last.
pub(super) struct EventFormat<T>(pub(super) Format<Full, T>);

impl<S, N, T> FormatEvent<S, N> for EventFormat<T>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    T: FormatTime,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if LogFormat::current() == LogFormat::Text {
            return self.0.format_event(context, writer, event);
        }
        let metadata = event.metadata();
        let mut fields = JsonFields::default();
        fields.set("time", now());
        fields.set("level", metadata.level().as_str().to_owned());
        fields.set("target", metadata.target().to_owned());
        event.record(&mut fields);
        writeln!(writer, "{}", Value::Object(fields.0))
    }
}

/// The fields of an event. The message comes as a field, too.
#[derive(Default)]
struct JsonFields(Map<String, Value>);

impl JsonFields {
    fn set(&mut self, name: &str, text: String) {
        self.0.insert(name.to_owned(), Value::String(text));
    }

    /// Adds a message. The job that it begins with, as in `[e596cf1f00000012] ...`, becomes fields of its own.
    fn message(&mut self, text: &str) {
        let label = text.strip_prefix('[').and_then(|rest| rest.split_once("] "));
        let label = label.and_then(|(label, message)| Some((job(label)?, message)));
        match label {
            Some(((job, parent), message)) => {
                self.set("job", job.to_owned());
                parent.iter().for_each(|parent| self.set("parent", (*parent).to_owned()));
                self.set("message", message.to_owned());
            }
            None => self.set("message", text.to_owned()),
        }
    }
}

/// Splits the label of a job: its number, and that of its caller.
fn job(label: &str) -> Option<(&str, Option<&str>)> {
    let is_number = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (job, parent) = label.split_once(" of ").map_or((label, None), |(job, parent)| (job, Some(parent)));
    (is_number(job) && parent.is_none_or(is_number)).then_some((job, parent))
}

impl Visit for JsonFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = shown(value);
        match field.name() {
            "message" => self.message(&text),
            name => self.set(name, text),
        }
    }
}

/// Writes a value of an event, escaped and cut. This is the last place where untrusted text is escaped. A message may
/// have several lines, such as a stack trace; its author has escaped the text within each line.
pub(super) fn shown(value: &dyn fmt::Debug) -> String {
    let mut text = format!("{value:?}");
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    let lines: Vec<_> = text.split('\n').map(plain).collect();
    lines.join("\n")
}

/// Formats the time as the log does: RFC 3339, UTC, microseconds.
pub fn now() -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _infallible = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Value {
        let mut fields = JsonFields::default();
        fields.message(text);
        Value::Object(fields.0)
    }

    #[test]
    fn the_job_of_a_message_is_a_field_of_its_own() {
        let told = message("[e596cf1f00000012 of e596cf1f00000011] one@1f trapped");
        assert_eq!(told["job"], "e596cf1f00000012");
        assert_eq!(told["parent"], "e596cf1f00000011");
        assert_eq!(told["message"], "one@1f trapped");
        for text in ["listening", "[e596cf1f0000001] x", "[e596cf1f0000001g] x", "[]"] {
            assert_eq!(message(text), serde_json::json!({ "message": text }));
        }
    }

    #[test]
    fn a_value_is_cut_and_its_lines_are_escaped() {
        let text = format!("a\u{202e}b\nc\u{1b}{}", "ä".repeat(LONGEST));

        let told = shown(&format_args!("{text}"));

        assert!(told.starts_with("a\\u{202e}b\nc\\u{1b}ää") && told.ends_with("ä…"), "{}", &told[..40]);
        assert!(told.len() < LONGEST + 32);
    }
}
