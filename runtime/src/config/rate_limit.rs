//! Reads `limit`: how many requests of a route or handler pass in which time.

use std::num::NonZeroU32;

use super::front_schema::WrittenLimit;
use super::reader::Keyed;
use super::report::Diagnostics;
use super::values::{LONGEST, count};
use crate::access::{MOST_REQUESTS, Rate, RateKey, RateRule};

/// Reads a limit. Without `burst`, as many requests pass at once as the rate has in its unit of time; without `by`,
/// each address has its own.
pub(super) fn read(written: Option<&Keyed<WrittenLimit>>, report: &Diagnostics<'_>) -> Option<RateRule> {
    let Keyed { value: limit, key, line } = written?;
    if limit.rate.is_none() {
        report.missing(*line, key, "rate", "write rate = \"10/s\"");
    }
    let rate = report.settle(limit.rate.as_ref(), None, |text| text.parse::<Rate>().map(Some));
    let by = report.settle(limit.by.as_ref(), RateKey::Address, |text| text.parse());
    let rate = rate?;
    let burst = report.settle(limit.burst.as_ref(), rate.count, |scalar| {
        let burst = count(1..=MOST_REQUESTS as usize)(scalar)?;
        Ok(u32::try_from(burst).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN))
    });
    if rate.interval() * burst.get() > LONGEST {
        let at = limit.burst.as_ref();
        let (line, key) = at.map_or((*line, key), |at| (at.line, &at.key));
        let message = format!(
            "a burst of {burst} at {rate} takes more than a year to come back: it is no limit, lower it"
        );
        report.add(line, key, message);
        return None;
    }
    Some(RateRule { rate, burst, by })
}
