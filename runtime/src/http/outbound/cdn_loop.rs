//! The field `CDN-Loop`, which detects a request that comes back to its sender (RFC 8586).

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The name of the field.
pub(in crate::http) static CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// How often a request may have passed through this process already: a job calls its own daemon, the
/// job it starts calls it again, and so on.
pub(in crate::http) const DEEPEST: usize = 4;

/// The token of this process. It is unique, so that a chain of several daemons is not a loop.
static NAME: LazyLock<String> = LazyLock::new(|| {
    let number = RandomState::new().build_hasher().finish();
    format!("portcullis-{number:016x}")
});

/// Checks that a request is not in a loop.
///
/// # Errors
/// [`Loop`] if the request has passed through this process too often.
pub(in crate::http) fn check(headers: &HeaderMap) -> Result<(), Loop> {
    // Nearly every request has no such field, and few fields: to compare their names is faster than to hash this one.
    if !headers.keys().any(|name| *name == CDN_LOOP) {
        return Ok(());
    }
    let passes: usize = headers.get_all(&CDN_LOOP).iter().map(passes).sum();
    if passes > DEEPEST { Err(Loop) } else { Ok(()) }
}

/// Joins the `CDN-Loop` fields of a request into one value, for the calls of its job.
pub(in crate::http) fn read(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut fields = headers.get_all(&CDN_LOOP).iter();
    // Nearly every request has no such field.
    let first = fields.next()?;
    let rest: Vec<&HeaderValue> = fields.collect();
    if rest.is_empty() {
        return Some(first.clone());
    }
    let all: Vec<&[u8]> = std::iter::once(first).chain(rest).map(HeaderValue::as_bytes).collect();
    Some(HeaderValue::from_bytes(&all.join(&b", "[..])).expect("values, commas and spaces are a value"))
}

/// The error for a request that is in a loop.
#[derive(Debug)]
pub(in crate::http) struct Loop;

/// Appends the token of this process to a value.
pub(super) fn extend(trail: Option<&HeaderValue>) -> HeaderValue {
    let before = trail.map(HeaderValue::as_bytes).unwrap_or_default();
    let comma: &[u8] = if before.is_empty() { b"" } else { b", " };
    let whole = [before, comma, NAME.as_bytes()].concat();
    HeaderValue::from_bytes(&whole).expect("a value, a comma and a token are a value")
}

/// Counts the entries of this process in a value. The parameters of an entry are not part of its
/// name.
fn passes(trail: &HeaderValue) -> usize {
    let entries = trail.as_bytes().split(|byte| *byte == b',');
    let names = entries.filter_map(|entry| entry.split(|byte| *byte == b';').next());
    names.filter(|name| name.trim_ascii() == NAME.as_bytes()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (CDN_LOOP.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_request_comes_back_so_often_and_no_further() {
        let next =
            |headers: &HeaderMap| HeaderMap::from_iter([(CDN_LOOP.clone(), extend(read(headers).as_ref()))]);
        let mut headers = HeaderMap::new();
        for _ in 0..DEEPEST {
            headers = next(&headers);
            assert!(check(&headers).is_ok());
        }

        assert!(check(&next(&headers)).is_err());
    }

    #[test]
    fn passes_count_over_all_fields_and_parameters_do_not_hide_them() {
        let own = format!("{};v=1", *NAME);
        let (two, one) = (format!("other, {own} ,{own}"), format!("{own};a=b"));

        assert!(check(&fields(&[&two, &one, &one])).is_ok());
        assert!(check(&fields(&[&two, &one, &one, &one])).is_err());
        assert_eq!(read(&fields(&["a", "b;c"])).unwrap(), "a, b;c");
    }

    #[test]
    fn a_row_of_other_servers_is_no_loop() {
        let row = ["portcullis-1"; 50].join(", ");
        assert!(check(&fields(&[&row])).is_ok());
        let trail = read(&fields(&[&row]));
        assert_eq!(extend(trail.as_ref()), format!("{row}, {}", *NAME));
    }
}
