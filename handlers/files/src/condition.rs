//! Evaluates conditional requests: whether the client still wants the file (RFC 9110 §13).

use httpdate::HttpDate;
use portcullis_guest::Request;
use std::fs::Metadata;
use std::time::{Duration, SystemTime};

/// The latest moment that an HTTP date can express: the end of the year 9999.
const LAST_DATE: Duration = Duration::from_secs(253_402_300_799);

/// Identifies one state of a file.
pub(crate) struct Stamp {
    length: u64,
    /// Since 1970.
    modified: Duration,
}

/// The result of the preconditions of a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Proceed,
    /// 304: the client has this state already.
    Unchanged,
    /// 412: the client wants another state.
    Refused,
}

impl Stamp {
    /// Makes the stamp of an open file.
    pub(crate) fn of(meta: &Metadata) -> Stamp {
        let modified = meta.modified().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        Stamp { length: meta.len(), modified: modified.unwrap_or_default() }
    }

    /// Returns the entity tag, from the length and the modification time in nanoseconds. It is a strong tag: with
    /// nanosecond timestamps, two states of the same length do not get the same time in practice.
    pub(crate) fn etag(&self) -> String {
        format!("\"{:x}-{:x}\"", self.modified.as_nanos(), self.length)
    }

    /// Returns the modification time as a field value, if an HTTP date can express it.
    pub(crate) fn last_modified(&self) -> Option<String> {
        let sayable = self.modified <= LAST_DATE && !self.modified.is_zero();
        sayable.then(|| HttpDate::from(SystemTime::UNIX_EPOCH + self.modified).to_string())
    }

    /// Returns whether the file was changed after an HTTP date, in whole seconds. `None` if the date is invalid.
    fn changed_after(&self, date: &str) -> Option<bool> {
        let date = date.parse::<HttpDate>().ok()?;
        let since = SystemTime::from(date).duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(self.modified.as_secs() > since.as_secs())
    }
}

/// Evaluates the preconditions of a `GET` or `HEAD` in the order of RFC 9110 §13.2.2.
pub(crate) fn judge(request: &Request, stamp: &Stamp) -> Verdict {
    let date = |name| request.header(name).and_then(|date| stamp.changed_after(date));
    let refused = match request.header("if-match") {
        Some(tags) => !lists(tags, &stamp.etag(), Comparison::Strong),
        None => date("if-unmodified-since") == Some(true),
    };
    if refused {
        return Verdict::Refused;
    }
    let unchanged = match request.header("if-none-match") {
        Some(tags) => lists(tags, &stamp.etag(), Comparison::Weak),
        None => date("if-modified-since") == Some(false),
    };
    if unchanged { Verdict::Unchanged } else { Verdict::Proceed }
}

/// Returns whether a `Range` applies. With an `If-Range` of another state, the client wants the whole file (§13.1.5).
pub(crate) fn range_applies(request: &Request, stamp: &Stamp) -> bool {
    match request.header("if-range").map(str::trim) {
        None => true,
        Some(tag) if tag.starts_with('"') => tag == stamp.etag(),
        Some(date) => stamp.last_modified().as_deref() == Some(date),
    }
}

/// How two entity tags are compared (§8.8.3.2).
enum Comparison {
    Strong,
    Weak,
}

fn lists(tags: &str, ours: &str, comparison: Comparison) -> bool {
    // A client's tag may contain a comma, but ours never does. Splitting such a tag cannot produce ours.
    tags.split(',').map(str::trim).any(|tag| match comparison {
        Comparison::Strong => tag == "*" || tag == ours,
        Comparison::Weak => tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == ours,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn stamp() -> Stamp {
        Stamp { length: 16, modified: Duration::new(784_111_777, 500) }
    }

    fn judged(fields: &[(&str, &str)]) -> Verdict {
        let mut request = Request::test("GET", "/files/x");
        for (name, value) in fields {
            request = request.header(name, value);
        }
        judge(&request, &stamp())
    }

    #[test]
    fn a_client_that_has_the_file_is_told_so() {
        let tag = stamp().etag();
        for tags in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".into()] {
            assert_eq!(judged(&[("If-None-Match", &tags)]), Verdict::Unchanged, "{tags}");
        }
        assert_eq!(judged(&[("If-Modified-Since", DATE)]), Verdict::Unchanged);
        assert_eq!(judged(&[("If-Modified-Since", "Sun, 06 Nov 1994 08:49:36 GMT")]), Verdict::Proceed);
        assert_eq!(judged(&[("If-Modified-Since", "yesterday")]), Verdict::Proceed);
    }

    #[test]
    fn a_tag_outweighs_a_date() {
        assert_eq!(judged(&[("If-None-Match", "\"x\""), ("If-Modified-Since", DATE)]), Verdict::Proceed);
    }

    #[test]
    fn a_client_that_wants_another_state_is_refused() {
        let weak = format!("W/{}", stamp().etag());
        assert_eq!(judged(&[("If-Match", &weak)]), Verdict::Refused);
        assert_eq!(judged(&[("If-Match", "\"x\"")]), Verdict::Refused);
        assert_eq!(judged(&[("If-Match", "*")]), Verdict::Proceed);
        assert_eq!(judged(&[("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:36 GMT")]), Verdict::Refused);
        assert_eq!(judged(&[("If-Unmodified-Since", DATE)]), Verdict::Proceed);
    }

    #[test]
    fn a_range_counts_for_the_state_it_was_asked_of() {
        let applies = |value: &str| {
            range_applies(&Request::test("GET", "/files/x").header("If-Range", value), &stamp())
        };

        assert!(applies(&stamp().etag()));
        assert!(applies(DATE));
        assert!(!applies("\"x\""));
        assert!(!applies("Sun, 06 Nov 1994 08:49:38 GMT"));
    }

    #[test]
    fn a_file_older_than_1970_or_newer_than_9999_has_no_date() {
        assert_eq!(Stamp { length: 0, modified: Duration::ZERO }.last_modified(), None);
        assert_eq!(Stamp { length: 0, modified: LAST_DATE + Duration::from_secs(1) }.last_modified(), None);
        assert_eq!(stamp().last_modified().as_deref(), Some(DATE));
    }
}
