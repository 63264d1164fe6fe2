//! The W3C trace context: read from the fields of a request, and written for jobs and other servers.

use http::{HeaderMap, HeaderName};
use opentelemetry::trace::TraceState;
use opentelemetry::{SpanId, TraceId};

/// The field with the trace and the span of the caller.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The field in which tracing systems keep what they need of a trace.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The most bytes of `tracestate` that are passed on. W3C Trace Context §3.3.1.5 asks for this many.
const STATE: usize = 512;

/// The most members of `tracestate` (W3C Trace Context §3.3.1.1).
const MEMBERS: usize = 32;

/// The span of a caller, as its request names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteParent {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) is_sampled: bool,
    pub(super) state: TraceState,
}

impl RemoteParent {
    /// Reads `traceparent` and `tracestate`. `None` if there is no valid `traceparent`, or several.
    pub fn read(fields: &HeaderMap) -> Option<RemoteParent> {
        let mut sent = fields.get_all(TRACEPARENT).iter();
        let (Some(first), None) = (sent.next(), sent.next()) else { return None };
        let (trace, span, is_sampled) = parse(first.to_str().ok()?)?;
        Some(RemoteParent { trace, span, is_sampled, state: state(fields) })
    }
}

/// Parses a `traceparent`: the trace, the span, and whether they are sampled. The parser of the SDK takes signs and
/// numbers of any length, which other servers refuse.
pub(super) fn parse(text: &str) -> Option<(TraceId, SpanId, bool)> {
    /// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits (§3.2.2). Later versions may have more after it (§4.2).
    const LENGTH: usize = 55;
    let is_dash = |at: usize| text.as_bytes().get(at) == Some(&b'-');
    let ends = match digits(text, 0, 2)? {
        "00" => text.len() == LENGTH,
        "ff" => false,
        _ => text.len() == LENGTH || is_dash(LENGTH),
    };
    if !ends || !is_dash(2) || !is_dash(35) || !is_dash(52) {
        return None;
    }
    let flags = u8::from_str_radix(digits(text, 53, LENGTH)?, 16).ok()?;
    Some((trace_id(digits(text, 3, 35)?)?, span_id(digits(text, 36, 52)?)?, flags & 1 == 1))
}

/// Parses the 32 digits of a trace. `None` if they are all 0.
pub fn trace_id(text: &str) -> Option<TraceId> {
    let id = TraceId::from_hex(digits(text, 0, 32).filter(|all| all.len() == text.len())?).ok();
    id.filter(|id| *id != TraceId::INVALID)
}

/// Parses the 16 digits of a span. `None` if they are all 0.
pub fn span_id(text: &str) -> Option<SpanId> {
    let id = SpanId::from_hex(digits(text, 0, 16).filter(|all| all.len() == text.len())?).ok();
    id.filter(|id| *id != SpanId::INVALID)
}

/// Returns this part of a text if it consists of hexadecimal digits in lower case.
fn digits(text: &str, from: usize, to: usize) -> Option<&str> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.get(from..to).filter(|part| part.bytes().all(is_digit))
}

/// Reads `tracestate`. A value that is malformed or too long is left out, as §3.3.1.5 allows.
fn state(fields: &HeaderMap) -> TraceState {
    let sent: Vec<&str> = fields.get_all(TRACESTATE).iter().filter_map(|value| value.to_str().ok()).collect();
    let joined = sent.join(",");
    if joined.len() > STATE {
        return TraceState::NONE;
    }
    let members = joined.split(',').map(|member| member.trim_matches([' ', '\t']));
    let members: Option<Vec<_>> = members.filter(|member| !member.is_empty()).map(member).collect();
    let members = members.filter(|members| members.len() <= MEMBERS);
    members.and_then(|members| TraceState::from_key_value(members).ok()).unwrap_or(TraceState::NONE)
}

/// Splits a member of the list into its key and its value (W3C Trace Context §3.3.1.3). `None` if it is malformed in a way
/// that `TraceState` accepts: without a key, without a system behind `@`, or with a value that is empty or has a tab.
fn member(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split_once('=')?;
    let is_key = !key.is_empty() && !key.ends_with('@');
    (is_key && !value.is_empty() && !value.contains('\t')).then_some((key, value))
}

/// Writes a `traceparent` of version 00.
pub(super) fn written(trace: TraceId, span: SpanId, is_sampled: bool) -> String {
    format!("00-{trace}-{span}-0{}", u8::from(is_sampled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn fields(parents: &[&str], states: &[&str]) -> HeaderMap {
        let parents = parents.iter().map(|value| (TRACEPARENT, HeaderValue::from_str(value).unwrap()));
        let states = states.iter().map(|value| (TRACESTATE, HeaderValue::from_str(value).unwrap()));
        let mut all = HeaderMap::new();
        for (name, value) in parents.chain(states) {
            all.append(name, value);
        }
        all
    }

    #[test]
    fn a_parent_is_read_and_written_as_it_was() {
        let parent = RemoteParent::read(&fields(&[SENT], &["a=1", "b=2"])).unwrap();

        assert_eq!(written(parent.trace, parent.span, parent.is_sampled), SENT);
        assert_eq!(parent.state.header(), "a=1,b=2");
        let later = format!("cc{}-more", &SENT[2..]);
        assert!(RemoteParent::read(&fields(&[&later], &[])).is_some());
    }

    #[test]
    fn what_is_no_parent_is_none() {
        for bad in [
            "",
            "00",
            &SENT[..54],
            &format!("{SENT}-more"),
            &format!("{SENT}0"),
            &format!("ff{}", &SENT[2..]),
            &SENT.to_uppercase(),
            &SENT.replace("4bf9", "+bf9"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(RemoteParent::read(&fields(&[bad], &[])), None, "{bad}");
        }
        // A proxy may have added one, and nobody can tell which.
        assert_eq!(RemoteParent::read(&fields(&[SENT, SENT], &[])), None);
    }

    #[test]
    fn a_state_that_is_malformed_or_too_long_is_left_out_and_its_parent_is_not() {
        let long = format!("a={}", "x".repeat(STATE));
        for bad in ["no member", "A=1", "a=1,=2", "a@=1", "@a=1", "a=,b=1", "a==1", "a=b=c", "a=b\tc", &long]
        {
            let parent = RemoteParent::read(&fields(&[SENT], &[bad])).unwrap();
            assert_eq!(parent.state, TraceState::NONE, "{bad}");
        }
    }

    #[test]
    fn a_state_has_32_members_at_most_and_empty_ones_do_not_count() {
        let state = |members: usize| {
            let members: Vec<String> = (0..members).map(|number| format!("a{number}=1")).collect();
            let sent = members.join(" ,,\t, ");
            let parent = RemoteParent::read(&fields(&[SENT], &[&sent])).unwrap();
            (parent.state.header(), members.join(","))
        };

        let (most, sent) = state(MEMBERS);
        assert_eq!(most, sent);
        assert_eq!(state(MEMBERS + 1).0, "");
    }
}
