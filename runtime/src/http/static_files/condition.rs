//! Entity tags of files, and the preconditions of requests (RFC 9110 §8.8, §13).

use std::time::{Duration, SystemTime};

use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, HeaderName, HeaderValue};
use httpdate::{fmt_http_date, parse_http_date};

use crate::catalog::Coding;
use crate::coarse_clock;
use crate::files::FileState;

/// Times up to this one, the second day of 1980, are no times of a change: build systems set them for reproducible
/// archives (zip begins in 1980).
const REPRODUCIBLE: Duration = Duration::from_secs(315_619_200);

/// A file that was changed this recently may change again within the resolution of its time (RFC 9110 §8.8.2.2).
const RECENT: Duration = Duration::from_secs(2);

/// The validators of a file.
#[derive(Debug)]
pub(super) struct Validators {
    /// The entity tag, weak if the file may still be changing.
    pub(super) etag: String,
    /// The second of the last change. `None` if the time means no change or lies in the future: it must not be later than
    /// the `Date` of the response (§8.8.2.1).
    pub(super) modified: Option<SystemTime>,
}

/// The result of the preconditions of a request.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Precondition {
    /// Answer the request.
    Proceed,
    /// 304: the client has this state already.
    Unchanged,
    /// 412: the client wants another state.
    Failed,
}

/// How two entity tags are compared (§8.8.3.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum TagComparison {
    Strong,
    Weak,
}

impl Validators {
    /// Makes the validators of a file in a coding.
    pub(super) fn of(state: &FileState, coding: Option<Coding>) -> Validators {
        let is_time = state.modified > REPRODUCIBLE;
        let time = if is_time { state.modified } else { state.changed };
        let weak = if state.age().is_none_or(|age| age < RECENT) { "W/" } else { "" };
        let coded = coding.map(|coding| format!("-{}", coding.name())).unwrap_or_default();
        let etag = format!("{weak}\"{:x}-{:x}{coded}\"", time.as_nanos(), state.length);
        let seconds = Duration::from_secs(state.modified.as_secs());
        // By the clock of `Date`, which may be a tick behind that of the file system.
        let is_past = |time: &SystemTime| is_time && *time <= coarse_clock::system();
        let modified = SystemTime::UNIX_EPOCH.checked_add(seconds).filter(is_past);
        Validators { etag, modified }
    }

    /// Returns the value of `ETag`.
    pub(super) fn etag_value(&self) -> HeaderValue {
        HeaderValue::try_from(&self.etag).expect("hexadecimal digits and quotes are a value")
    }

    /// Returns the value of `ETag` for a 304: weak if the client names the weak tag alone. Its copy was compressed on the way,
    /// and a strong tag would promise the bytes of the file (RFC 9110 §15.4.5).
    pub(super) fn etag_of_copy(&self, request: &HeaderMap) -> HeaderValue {
        let tags = list(request, &IF_NONE_MATCH).unwrap_or_default();
        let names = |tag: &str| tags.split(',').any(|named| named.trim() == tag);
        let weak = format!("W/{}", self.etag);
        match HeaderValue::try_from(&weak) {
            Ok(value) if names(&weak) && !names(&self.etag) => value,
            _ => self.etag_value(),
        }
    }

    /// Returns the value of `Last-Modified`.
    pub(super) fn modified_value(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(fmt_http_date(self.modified?)).ok()
    }

    /// Evaluates the preconditions of a GET or HEAD in the order of RFC 9110 §13.2.2.
    pub(super) fn judge(&self, request: &HeaderMap) -> Precondition {
        let has_failed = match list(request, &IF_MATCH) {
            Some(tags) => !self.is_in(&tags, TagComparison::Strong),
            None => self.is_newer(request, &IF_UNMODIFIED_SINCE) == Some(true),
        };
        if has_failed {
            return Precondition::Failed;
        }
        let is_unchanged = match list(request, &IF_NONE_MATCH) {
            Some(tags) => self.is_in(&tags, TagComparison::Weak),
            None => self.is_newer(request, &IF_MODIFIED_SINCE) == Some(false),
        };
        if is_unchanged { Precondition::Unchanged } else { Precondition::Proceed }
    }

    /// Reports whether a `Range` applies. With an `If-Range` of another state, the client wants the whole file (§13.1.5).
    pub(super) fn range_applies(&self, request: &HeaderMap) -> bool {
        let mut values = request.get_all(IF_RANGE).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return true,
            (Some(value), None) => value.to_str().unwrap_or_default().trim(),
            (Some(_), Some(_)) => return false,
        };
        if value.starts_with('"') {
            return value == self.etag;
        }
        // A date is a strong validator only if the file is not recent, as for the tag.
        let is_strong = !self.etag.starts_with("W/");
        is_strong && self.modified.is_some() && parse_http_date(value).ok() == self.modified
    }

    /// Reports whether the file is newer than the date in a field. `None` without one valid date on either side: several
    /// are ignored (§13.1.3).
    fn is_newer(&self, request: &HeaderMap, name: &HeaderName) -> Option<bool> {
        let date = parse_http_date(single(request, name)?).ok()?;
        Some(self.modified? > date)
    }

    /// Reports whether a list of tags holds the tag of this file. A tag may contain a comma, but this one does not, so a
    /// tag that is split cannot become it.
    fn is_in(&self, tags: &str, comparison: TagComparison) -> bool {
        let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
        tags.split(',').map(str::trim).any(|tag| match comparison {
            _ if tag == "*" => true,
            TagComparison::Strong => tag == self.etag && !tag.starts_with("W/"),
            TagComparison::Weak => opaque(tag) == opaque(&self.etag),
        })
    }
}

/// Returns the value of a field that is no list. `None` if it is absent, repeated, or no text.
pub(super) fn single<'a>(request: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = request.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok()
}

/// Joins the values of a list field. `None` if it is absent.
fn list(request: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> = request.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    request.contains_key(name).then(|| values.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::RANGE;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn validators() -> Validators {
        let modified = Duration::new(784_111_777, 500);
        Validators::of(&FileState { length: 16, modified, changed: modified }, None)
    }

    fn request(fields: &[(HeaderName, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn judged(fields: &[(HeaderName, &str)]) -> Precondition {
        validators().judge(&request(fields))
    }

    #[test]
    fn a_client_that_has_the_file_is_told_so() {
        let tag = validators().etag;
        for tags in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".into()] {
            assert_eq!(judged(&[(IF_NONE_MATCH, &tags)]), Precondition::Unchanged, "{tags}");
        }
        assert_eq!(judged(&[(IF_MODIFIED_SINCE, DATE)]), Precondition::Unchanged);
        assert_eq!(judged(&[(IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT")]), Precondition::Proceed);
        assert_eq!(judged(&[(IF_MODIFIED_SINCE, "yesterday")]), Precondition::Proceed);
    }

    #[test]
    fn a_date_that_is_repeated_is_ignored() {
        let earlier = "Sun, 06 Nov 1994 08:49:36 GMT";
        for name in [IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE] {
            let mut request = HeaderMap::new();
            for date in [DATE, earlier] {
                request.append(&name, HeaderValue::from_static(date));
            }
            assert_eq!(validators().judge(&request), Precondition::Proceed, "{name}");

            request.insert(&name, HeaderValue::from_static(earlier));
            let is_refused = validators().judge(&request) == Precondition::Failed;
            assert_eq!(is_refused, name == IF_UNMODIFIED_SINCE);
        }
        let mut ranges = HeaderMap::new();
        for range in ["bytes=0-1", "bytes=2-3"] {
            ranges.append(RANGE, HeaderValue::from_static(range));
        }
        assert_eq!(single(&ranges, &RANGE), None);
    }

    #[test]
    fn a_client_with_a_compressed_copy_is_told_its_tag() {
        let strong = validators().etag;
        let weak = format!("W/{strong}");
        let told = |tags: &str| validators().etag_of_copy(&request(&[(IF_NONE_MATCH, tags)]));

        assert_eq!(told(&weak), weak);
        assert_eq!(told(&format!("\"x\", {weak}")), weak);
        for tags in [strong.as_str(), &format!("{weak}, {strong}"), "*"] {
            assert_eq!(told(tags), strong, "{tags}");
        }
        assert_eq!(validators().etag_of_copy(&HeaderMap::new()), strong);
    }

    #[test]
    fn a_tag_outweighs_a_date() {
        assert_eq!(judged(&[(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, DATE)]), Precondition::Proceed);
        let tag = validators().etag;
        let late = "Sun, 06 Nov 1994 08:49:36 GMT";
        assert_eq!(judged(&[(IF_MATCH, &tag), (IF_UNMODIFIED_SINCE, late)]), Precondition::Proceed);
    }

    #[test]
    fn a_client_that_wants_another_state_is_refused() {
        let weak = format!("W/{}", validators().etag);
        assert_eq!(judged(&[(IF_MATCH, &weak)]), Precondition::Failed);
        assert_eq!(judged(&[(IF_MATCH, "\"x\"")]), Precondition::Failed);
        assert_eq!(judged(&[(IF_MATCH, "*")]), Precondition::Proceed);
        assert_eq!(judged(&[(IF_UNMODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT")]), Precondition::Failed);
        assert_eq!(judged(&[(IF_UNMODIFIED_SINCE, DATE)]), Precondition::Proceed);
    }

    #[test]
    fn a_range_applies_to_the_state_that_it_names() {
        let applies = |value: &str| validators().range_applies(&request(&[(IF_RANGE, value)]));

        assert!(applies(&validators().etag) && applies(DATE));
        assert!(!applies("\"x\"") && !applies("Sun, 06 Nov 1994 08:49:38 GMT") && !applies("W/\"x\""));
        assert!(validators().range_applies(&HeaderMap::new()));
    }

    #[test]
    fn a_file_that_may_still_change_has_a_weak_tag() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        for modified in [now, now + Duration::from_secs(60)] {
            let recent = Validators::of(&FileState { length: 1, modified, changed: modified }, None);
            assert!(recent.etag.starts_with("W/\""), "{}", recent.etag);
            let tag = request(&[(IF_RANGE, &recent.etag)]);
            assert!(!recent.range_applies(&tag));
        }
    }

    #[test]
    fn a_time_that_means_no_change_is_no_validator() {
        let state = |changed| FileState { length: 1, modified: Duration::from_secs(1), changed };
        let [one, other] =
            [100, 200].map(|seconds| Validators::of(&state(Duration::from_secs(seconds)), None));

        assert_eq!((one.modified_value(), other.modified_value()), (None, None));
        assert_ne!(one.etag, other.etag);
    }

    #[test]
    fn a_change_that_lies_in_the_future_is_not_told_before_its_second() {
        let second = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        // The year 10,000, which no HTTP date can express, and the last time of a file.
        let [far, last] = [253_402_300_800, i64::MAX.cast_unsigned()];
        let modified = |seconds| {
            let modified = Duration::from_secs(seconds);
            Validators::of(&FileState { length: 1, modified, changed: modified }, None).modified_value()
        };

        assert!(modified(second - 1).is_some());
        assert_eq!([second + 60, far, last].map(modified), [None, None, None]);
    }

    #[test]
    fn each_coding_has_a_tag_of_its_own() {
        let time = Duration::from_secs(784_111_777);
        let state = FileState { length: 1, modified: time, changed: time };
        let tags =
            [None, Some(Coding::Br), Some(Coding::Gzip)].map(|coding| Validators::of(&state, coding).etag);
        assert!(tags[0] != tags[1] && tags[1] != tags[2]);
    }
}
