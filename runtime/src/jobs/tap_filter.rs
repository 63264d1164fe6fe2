//! The conditions of `tap`, such as `handler=notes status>=500 duration>50ms`, parsed and applied to ended jobs.

use std::borrow::Cow;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::config::{Size, Span};
use crate::job::JobId;
use crate::observe::history::HistoryEntry;

/// The most conditions.
const MOST: usize = 32;

/// Conditions that must all hold.
#[derive(Debug, Default)]
pub(super) struct TapFilter(Vec<TapCondition>);

/// A field, and what it is compared with.
#[derive(Debug)]
struct TapCondition {
    field: &'static TapField,
    comparison: Comparison,
    wanted: WantedValue,
}

/// How a field is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The value of a condition.
#[derive(PartialEq, Debug)]
enum WantedValue {
    /// The parts of a text between its `*`.
    Text(Vec<String>),
    Number(f64),
    /// The numbers from the first to the second, both included: a class of statuses.
    Range(f64, f64),
}

/// The type of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FieldKind {
    Text,
    Number,
    Status,
    Duration,
    Size,
}

/// The value of a field in one entry.
enum FieldValue<'a> {
    Text(Cow<'a, str>),
    Number(f64),
}

/// A field of ended jobs.
#[derive(Debug)]
struct TapField {
    name: &'static str,
    kind: FieldKind,
    read: for<'a> fn(&'a HistoryEntry) -> Option<FieldValue<'a>>,
}

/// Every field, in the order of the documentation.
static FIELDS: [TapField; 20] = [
    TapField { name: "handler", kind: FieldKind::Text, read: |entry| text(&entry.version.as_ref()?.handler) },
    TapField { name: "version", kind: FieldKind::Text, read: |entry| text(&entry.version.as_ref()?.version) },
    TapField { name: "kind", kind: FieldKind::Text, read: |entry| text(&entry.version.as_ref()?.kind) },
    TapField { name: "id", kind: FieldKind::Text, read: |entry| name(entry.id) },
    TapField { name: "parent", kind: FieldKind::Text, read: |entry| name(entry.parent) },
    TapField { name: "trace", kind: FieldKind::Text, read: trace },
    TapField {
        name: "method",
        kind: FieldKind::Text,
        read: |entry| text(entry.request.as_ref()?.method.as_str()),
    },
    TapField { name: "path", kind: FieldKind::Text, read: |entry| text(&entry.request.as_ref()?.path) },
    TapField {
        name: "route",
        kind: FieldKind::Text,
        read: |entry| text(entry.request.as_ref()?.route.as_ref()?),
    },
    TapField { name: "client", kind: FieldKind::Text, read: client },
    TapField { name: "outcome", kind: FieldKind::Text, read: outcome },
    TapField {
        name: "status",
        kind: FieldKind::Status,
        read: |entry| number(entry.request.as_ref()?.status?),
    },
    TapField { name: "exit", kind: FieldKind::Number, read: |entry| number(entry.job.as_ref()?.status) },
    TapField { name: "duration", kind: FieldKind::Duration, read: |entry| time(entry.total()) },
    TapField { name: "started", kind: FieldKind::Duration, read: started },
    TapField { name: "first_byte", kind: FieldKind::Duration, read: first_byte },
    TapField { name: "cpu", kind: FieldKind::Duration, read: |entry| time(entry.job.as_ref()?.cpu) },
    TapField {
        name: "memory",
        kind: FieldKind::Size,
        read: |entry| bytes(entry.job.as_ref()?.memory as u64),
    },
    TapField { name: "read", kind: FieldKind::Size, read: |entry| bytes(entry.job.as_ref()?.read) },
    TapField { name: "sent", kind: FieldKind::Size, read: |entry| bytes(entry.request.as_ref()?.sent) },
];

/// The comparisons by their operators, the longer ones first.
const OPERATORS: [(&str, Comparison); 6] = [
    ("!=", Comparison::Unequal),
    (">=", Comparison::GreaterOrEqual),
    ("<=", Comparison::LessOrEqual),
    ("=", Comparison::Equal),
    (">", Comparison::Greater),
    ("<", Comparison::Less),
];

impl TapFilter {
    /// Parses conditions, separated by spaces. A value with spaces stands in double quotes.
    ///
    /// # Errors
    /// A condition is malformed: what was wanted, and what was found.
    pub(super) fn parse(text: &str) -> Result<TapFilter> {
        let words = words(text)?;
        ensure!(words.len() <= MOST, "{} conditions: {MOST} at most", words.len());
        words.iter().map(|word| TapCondition::parse(word)).collect::<Result<_>>().map(TapFilter)
    }

    /// Reports whether all conditions hold.
    pub(super) fn selects(&self, entry: &HistoryEntry) -> bool {
        self.0.iter().all(|condition| condition.holds(entry))
    }
}

impl TapCondition {
    fn parse(word: &str) -> Result<TapCondition> {
        let end = word.find(['=', '!', '<', '>']).with_context(|| {
            format!("{word:?}: wanted FIELD, one of = != < <= > >=, and a value, such as status>=500")
        })?;
        let (name, rest) = word.split_at(end);
        let field = FIELDS.iter().find(|field| field.name == name).with_context(|| {
            let names = FIELDS.each_ref().map(|field| field.name).join(", ");
            format!("{word:?}: there is no field {name:?}: {names}")
        })?;
        let found = OPERATORS
            .iter()
            .find_map(|(operator, comparison)| Some((operator, *comparison, rest.strip_prefix(operator)?)));
        let Some((operator, comparison, value)) = found else {
            bail!("{word:?}: wanted one of = != < <= > >= after {name}")
        };
        let is_order = !matches!(comparison, Comparison::Equal | Comparison::Unequal);
        ensure!(
            field.kind != FieldKind::Text || !is_order,
            "{word:?}: {name} is a text: compare it with = or !=, not with {operator}"
        );
        ensure!(!value.is_empty(), "{word:?}: the value is missing; an empty text is \"\"");
        let wanted = WantedValue::parse(field.kind, value).with_context(|| format!("{word:?}"))?;
        ensure!(
            !matches!(wanted, WantedValue::Range(..)) || !is_order,
            "{word:?}: {value} is a class of statuses: compare it with = or !=, not with {operator}"
        );
        Ok(TapCondition { field, comparison, wanted })
    }

    /// Reports whether the condition holds. A field that the entry lacks is unequal to every value.
    fn holds(&self, entry: &HistoryEntry) -> bool {
        let Some(value) = (self.field.read)(entry) else { return self.comparison == Comparison::Unequal };
        let is_equal = match (&self.wanted, &value) {
            (WantedValue::Text(parts), FieldValue::Text(text)) => matches(parts, text),
            (WantedValue::Number(wanted), FieldValue::Number(number)) => number == wanted,
            (WantedValue::Range(first, last), FieldValue::Number(number)) => (first..=last).contains(&number),
            (WantedValue::Text(_), FieldValue::Number(_))
            | (WantedValue::Number(_) | WantedValue::Range(..), FieldValue::Text(_)) => false,
        };
        let compared = match (&self.wanted, &value) {
            (WantedValue::Number(wanted), FieldValue::Number(number)) => number.partial_cmp(wanted),
            _ => None,
        };
        match self.comparison {
            Comparison::Equal => is_equal,
            Comparison::Unequal => !is_equal,
            Comparison::Less => compared.is_some_and(|order| order.is_lt()),
            Comparison::LessOrEqual => compared.is_some_and(|order| order.is_le()),
            Comparison::Greater => compared.is_some_and(|order| order.is_gt()),
            Comparison::GreaterOrEqual => compared.is_some_and(|order| order.is_ge()),
        }
    }
}

impl WantedValue {
    fn parse(kind: FieldKind, value: &str) -> Result<WantedValue> {
        let whole = |wanted: &'static str| value.parse::<u32>().ok().with_context(|| wanted);
        Ok(match kind {
            FieldKind::Text => {
                // As other languages write comparisons. Nothing would match.
                ensure!(!value.starts_with('='), "wanted one =; a text that begins with = stands in quotes");
                ensure!(!value.starts_with('~'), "wanted = and a text, where * stands for any characters");
                let text = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
                ensure!(!text.contains('"'), "wanted quotes around the whole text, such as \"/a b\"");
                WantedValue::Text(text.split('*').map(str::to_owned).collect())
            }
            FieldKind::Status => match value.strip_suffix("xx") {
                Some(class @ ("1" | "2" | "3" | "4" | "5")) => {
                    let first = class.parse::<f64>()? * 100.0;
                    WantedValue::Range(first, first + 99.0)
                }
                _ => {
                    WantedValue::Number(whole("wanted a status such as 502, or a class such as 5xx")?.into())
                }
            },
            FieldKind::Number => WantedValue::Number(whole("wanted a whole number")?.into()),
            FieldKind::Duration => {
                let span: Span = value.parse().ok().context("wanted a duration such as 50ms or 1m30s")?;
                WantedValue::Number(span.0.as_secs_f64())
            }
            FieldKind::Size => {
                let size: Size = value.parse().ok().context("wanted a size such as 64KiB")?;
                WantedValue::Number(size.0 as f64)
            }
        })
    }
}

/// Splits a text at spaces outside double quotes.
fn words(text: &str) -> Result<Vec<String>> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for letter in text.chars() {
        is_quoted ^= letter == '"';
        match words.last_mut() {
            Some(word) if is_quoted || !letter.is_whitespace() => word.push(letter),
            _ => words.push(String::new()),
        }
    }
    ensure!(!is_quoted, "{text:?}: a quote is not closed");
    words.retain(|word| !word.is_empty());
    Ok(words)
}

/// Reports whether a text has these parts, with anything between them.
fn matches(parts: &[String], text: &str) -> bool {
    let [first, between @ .., last] = parts else { return parts.first().is_some_and(|only| only == text) };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
    for part in between {
        let Some(at) = rest.find(part.as_str()) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last.as_str())
}

fn text(text: &str) -> Option<FieldValue<'_>> {
    Some(FieldValue::Text(Cow::Borrowed(text)))
}

fn name(id: Option<u64>) -> Option<FieldValue<'static>> {
    Some(FieldValue::Text(Cow::Owned(JobId(id?).to_string())))
}

fn client(entry: &HistoryEntry) -> Option<FieldValue<'_>> {
    let client = entry.request.as_ref()?.client;
    Some(FieldValue::Text(client.map_or(Cow::Borrowed(""), |client| Cow::Owned(client.to_string()))))
}

fn outcome(entry: &HistoryEntry) -> Option<FieldValue<'_>> {
    Some(FieldValue::Text(entry.outcome()))
}

fn trace(entry: &HistoryEntry) -> Option<FieldValue<'_>> {
    Some(FieldValue::Text(Cow::Owned(entry.trace?.to_string())))
}

fn number(number: impl Into<f64>) -> Option<FieldValue<'static>> {
    Some(FieldValue::Number(number.into()))
}

fn bytes(bytes: u64) -> Option<FieldValue<'static>> {
    Some(FieldValue::Number(bytes as f64))
}

fn time(time: Duration) -> Option<FieldValue<'static>> {
    Some(FieldValue::Number(time.as_secs_f64()))
}

fn started(entry: &HistoryEntry) -> Option<FieldValue<'_>> {
    time(entry.job.as_ref()?.started?.saturating_duration_since(entry.began()?))
}

fn first_byte(entry: &HistoryEntry) -> Option<FieldValue<'_>> {
    time(entry.request.as_ref()?.head_sent?.saturating_duration_since(entry.began()?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Instant, SystemTime};

    use http::Method;

    use super::*;
    use crate::observe::history::{RequestSummary, VersionLabel};
    use crate::observe::traces::trace_id;

    /// A request that took 80 ms.
    fn entry() -> HistoryEntry {
        let accepted = Instant::now();
        let label = VersionLabel {
            handler: "notes".to_owned(),
            version: "5f2d9c1ab0e7".to_owned(),
            kind: "wasip1".to_owned(),
        };
        let request = RequestSummary {
            status: Some(503),
            is_complete: true,
            ended: accepted + Duration::from_millis(80),
            sent: 2048,
            route: Some("/notes/{id}".into()),
            ..RequestSummary::begun(accepted, &Method::GET, "/notes/a b", "192.0.2.1".parse().ok())
        };
        HistoryEntry {
            id: Some(0x1f),
            parent: None,
            trace: trace_id("4bf92f3577b34da6a3ce929d0e0e4736"),
            version: Some(Arc::new(label)),
            ended: SystemTime::now(),
            job: None,
            request: Some(request),
        }
    }

    #[test]
    fn conditions_select_what_they_say() {
        let selects = |filter: &str| TapFilter::parse(filter).unwrap().selects(&entry());
        for filter in [
            "",
            "handler=notes status>=500 duration>50ms",
            "status=5xx status=503 status!=4xx",
            "status>502 status<504 status>=503 status<=503 status!=502",
            "duration<=80ms duration>=80ms duration<81ms sent=2KiB sent>2047 sent<1MiB",
            "path=/notes/* path=*b path=\"/notes/a b\" path=*otes*a*",
            "id=000000000000001f parent!=1 cpu!=1s",
            "trace=4bf92f3577b34da6a3ce929d0e0e4736 trace=4bf9*",
            "method=GET client=192.0.2.* outcome=\"answered 503\" route=/notes/{id}",
            "outcome=answered*",
            "path!=\"=/notes\" path!=\"~\" path!=\"\"",
        ] {
            assert!(selects(filter), "{filter}");
        }
        for filter in [
            "handler=note",
            "status<500",
            "status<503",
            "status>503",
            "status!=503",
            "status!=5xx",
            "sent>2KiB",
            "handler!=notes",
            "handler=notes duration>1s",
            "path=/notes",
            "path=*c",
            "cpu<1s",
            "exit=0",
            "outcome=trapped",
            "outcome=ok",
            "trace=4bf92f",
        ] {
            assert!(!selects(filter), "{filter}");
        }
    }

    #[test]
    fn a_malformed_condition_says_what_was_wanted() {
        for (filter, wanted) in [
            ("notes", "\"notes\": wanted FIELD, one of = != < <= > >=, and a value"),
            ("statuss>=500", "there is no field \"statuss\": handler, version"),
            ("status!500", "wanted one of = != < <= > >= after status"),
            ("handler>notes", "handler is a text: compare it with = or !=, not with >"),
            ("status>=5xx", "5xx is a class of statuses: compare it with = or !="),
            ("status=high", "wanted a status such as 502, or a class such as 5xx"),
            ("duration>50", "wanted a duration such as 50ms"),
            ("memory>much", "wanted a size such as 64KiB"),
            ("exit=-1", "wanted a whole number"),
            ("path=", "the value is missing"),
            ("path=\"/a", "a quote is not closed"),
            ("handler==a", "\"handler==a\": wanted one =; a text that begins with = stands in quotes"),
            ("handler=~no.*", "wanted = and a text, where * stands for any characters"),
            ("path=/a\" \"b", "wanted quotes around the whole text, such as \"/a b\""),
            ("path=\"/a\"\"b\"", "wanted quotes around the whole text"),
        ] {
            let refused = format!("{:#}", TapFilter::parse(filter).unwrap_err());
            assert!(refused.contains(wanted), "{filter}: {refused}");
        }
        assert!(TapFilter::parse(&"exit=0 ".repeat(33)).is_err());
    }
}
