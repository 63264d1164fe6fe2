//! Reads `limit`: how many requests of a route or handler pass in which time.

use std::num::NonZeroU32;

use super::front_schema::WrittenLimit;
use super::reader::Keyed;
use super::report::Diagnostics;
use super::store::{StoreConfig, Stores};
use super::values::{LONGEST, count};
use crate::access::{MOST_REQUESTS, Rate, RateKey, RateRule};
use crate::store::StoreUrl;

/// A limit as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateLimitConfig {
    /// How many requests pass in which time.
    pub rule: RateRule,
    /// The store in which daemons count together. `None` counts in each daemon.
    pub store: Option<StoreConfig>,
}

/// Reads a limit. Without `burst`, as many requests pass at once as the rate has in its unit of time; without `by`,
/// each address has its own.
pub(super) fn read(
    written: Option<&Keyed<WrittenLimit>>,
    stores: &Stores<'_>,
    report: &Diagnostics<'_>,
) -> Option<RateLimitConfig> {
    let Keyed { value: limit, key, line } = written?;
    if limit.rate.is_none() {
        report.missing(*line, key, "rate", "write rate = \"10/s\"");
    }
    let rate = report.settle(limit.rate.as_ref(), None, |text| text.parse::<Rate>().map(Some));
    let by = report.settle(limit.by.as_ref(), RateKey::Address, |text| text.parse());
    let store = report.settle(limit.store.as_ref(), None, |name| store(name, stores).map(Some));
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
    Some(RateLimitConfig { rule: RateRule { rate, burst, by }, store })
}

/// Finds the store of a limit. Counting is one step there, so that no request passes twice.
fn store(name: &str, stores: &Stores<'_>) -> Result<StoreConfig, String> {
    let store = stores.find(name)?;
    match &store.options.url {
        StoreUrl::Redis(_) => Ok(store),
        StoreUrl::Memory | StoreUrl::Redb(_) => Err(format!(
            "the store {name:?} ({}) is of this daemon alone: name a store with a redis:// URL, or leave the key out",
            store.options.url
        )),
        StoreUrl::Nats(_) => Err(format!(
            "the store {name:?} ({}) cannot count a request in one step, so daemons would let too many pass: name a store \
             with a redis:// URL",
            store.options.url
        )),
    }
}
