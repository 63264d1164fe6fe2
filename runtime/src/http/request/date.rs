//! The `Date` field of responses.
//!
//! hyper renews its own value only when the clock moves forward, so a clock that is set back leaves that value
//! in the future.

use std::cell::RefCell;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use http::header::DATE;
use http::{HeaderMap, HeaderValue};

use crate::coarse_clock;

/// A second, and its text.
type DateCache = (Range<SystemTime>, HeaderValue);

thread_local! {
    static LAST: RefCell<Option<DateCache>> = const { RefCell::new(None) };
}

/// Adds the time at which a response was made (RFC 9110 §6.6.1). A `Date` from the handler never gets here:
/// both gateways drop it.
pub(in crate::http) fn stamp(headers: &mut HeaderMap) {
    LAST.with_borrow_mut(|last| headers.insert(DATE, at(coarse_clock::system(), last)));
}

/// Formats a time. Reuses the text of `last` within the same second.
fn at(now: SystemTime, last: &mut Option<DateCache>) -> HeaderValue {
    // To compare times is faster than to subtract them.
    if let Some((_, value)) = last.as_ref().filter(|(second, _)| second.contains(&now)) {
        return value.clone();
    }
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    last.insert((start..start + Duration::from_secs(1), write(start))).1.clone()
}

fn write(second: SystemTime) -> HeaderValue {
    HeaderValue::try_from(httpdate::fmt_http_date(second)).expect("a date is ASCII")
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
