//! `HandlerLatencies`: the distributions of the durations of one version's jobs.

use std::time::Duration;

use crate::observe::history::JobDurations;
use crate::observe::latency::LatencyHistogram;
use crate::observe::series::{SeriesLimit, SeriesPermit};

/// How many handler versions have distributions of their own. The others share [`OTHER`].
const VERSIONS: usize = 200;

static LIMIT: SeriesLimit = SeriesLimit::new(VERSIONS);

/// The distributions of all versions beyond the limit.
pub static OTHER: HandlerLatencies = HandlerLatencies::shared();

/// The distributions of the durations of one version's jobs.
#[derive(Debug)]
pub struct HandlerLatencies {
    /// Waits for a slot, of jobs that got one and of jobs that did not.
    pub queue: LatencyHistogram,
    /// Making the instance.
    pub instantiate: LatencyHistogram,
    /// Running the guest.
    pub guest: LatencyHistogram,
    /// From the end of a job to the last byte of its response.
    pub send: LatencyHistogram,
    _permit: Option<SeriesPermit>,
}

impl HandlerLatencies {
    const fn shared() -> HandlerLatencies {
        HandlerLatencies {
            queue: LatencyHistogram::new(),
            instantiate: LatencyHistogram::new(),
            guest: LatencyHistogram::new(),
            send: LatencyHistogram::new(),
            _permit: None,
        }
    }

    /// Makes empty distributions, unless there are too many already.
    pub(super) fn within_limit() -> Option<Box<HandlerLatencies>> {
        let permit = LIMIT.take()?;
        Some(Box::new(HandlerLatencies { _permit: Some(permit), ..HandlerLatencies::shared() }))
    }

    /// Counts a job that has ended.
    pub fn ended(&self, JobDurations { queue, instantiate, guest }: JobDurations) {
        self.queue.observe(queue);
        instantiate.iter().for_each(|time| self.instantiate.observe(*time));
        guest.iter().for_each(|time| self.guest.observe(*time));
    }

    /// Counts a job that has waited and got no slot.
    pub fn refused(&self, queue: Duration) {
        if !queue.is_zero() {
            self.queue.observe(queue);
        }
    }
}
