//! The `Date` field of responses.
//!
//! hyper renews its own value only when the clock moves forward, so a clock that is set back leaves that value
//! in the future.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use http::header::DATE;
use http::{HeaderMap, HeaderValue};

/// A time in whole seconds since 1970, and its text.
type DateCache = (u64, HeaderValue);

thread_local! {
    static LAST: RefCell<Option<DateCache>> = const { RefCell::new(None) };
}

/// Adds the time at which a response was made (RFC 9110 §6.6.1). A `Date` from the handler never gets here:
/// both gateways drop it.
pub(in crate::http) fn stamp(headers: &mut HeaderMap) {
    LAST.with_borrow_mut(|last| headers.insert(DATE, at(SystemTime::now(), last)));
}

/// Formats a time. Reuses the text of `last` within the same second.
fn at(now: SystemTime, last: &mut Option<DateCache>) -> HeaderValue {
    let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if let Some((_, value)) = last.as_ref().filter(|(kept, _)| *kept == second) {
        return value.clone();
    }
    last.insert((second, write(second))).1.clone()
}

fn write(second: u64) -> HeaderValue {
    let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
    HeaderValue::try_from(date).expect("a date is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_follows_the_clock_both_ways() {
        let time = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let mut last = None;

        let dates = [784_111_777_000, 784_111_777_999, 784_111_778_000, 784_111_777_000]
            .map(|millis| at(time(millis), &mut last).to_str().unwrap().to_owned());

        let [first, second] = ["Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:38 GMT"];
        assert_eq!(dates, [first, first, second, first]);
    }
}
