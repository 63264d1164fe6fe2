//! The clocks of the kernel as of its last tick.
//!
//! They are up to 10 ms behind (`CLOCK_MONOTONIC_COARSE`, clock_gettime(2)), and cost a quarter of the time of the exact
//! ones.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Returns the time since the machine was started, without the time that it slept.
pub fn monotonic() -> Duration {
    duration(clock_gettime(ClockId::MonotonicCoarse))
}

/// Returns the time of day.
pub fn system() -> SystemTime {
    SystemTime::UNIX_EPOCH + duration(clock_gettime(ClockId::RealtimeCoarse))
}

fn duration(time: Timespec) -> Duration {
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// The longest tick of a kernel, with room for a clock that is adjusted meanwhile.
    const BEHIND: Duration = Duration::from_millis(11);

    #[test]
    fn the_time_of_day_is_hardly_behind() {
        let before = SystemTime::now() - BEHIND;

        let time = system();

        assert!(before <= time && time <= SystemTime::now(), "{before:?} {time:?}");
    }

    #[test]
    fn time_goes_on_as_that_of_the_exact_clock() {
        let (coarse, exact) = (monotonic(), Instant::now());

        while exact.elapsed() < 2 * BEHIND {
            std::hint::spin_loop();
        }

        assert!(monotonic() - coarse >= BEHIND);
    }
}
