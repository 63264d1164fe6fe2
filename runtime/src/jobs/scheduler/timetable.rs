//! The timetable: which handlers are due at a moment, while handlers and the clock change.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::TimeDelta;

use crate::job::{HandlerVersion, Name, Schedule, Time};

/// A run that is later than this is missed and not made up for. A clock that jumps, or a machine that slept, therefore
/// starts no burst of runs.
const LATE: TimeDelta = TimeDelta::seconds(60);

/// A clock that was set back by more than this starts the timetable anew. If it was set back by less, the timetable
/// waits until the clock has caught up, so that no run happens twice.
const BACK: TimeDelta = TimeDelta::seconds(60);

/// The maximum number of missed runs that are counted one by one.
const COUNTED: usize = 10_000;

/// The next run of each handler.
#[derive(Default)]
pub(super) struct Timetable {
    lines: HashMap<Name, ScheduleLine>,
    /// When the timetable was last advanced.
    looked: Option<Time>,
}

struct ScheduleLine {
    schedule: Schedule,
    next: Option<Time>,
}

/// A handler that is due.
pub(super) struct DueRun {
    /// The version that serves.
    pub(super) entry: Arc<HandlerVersion>,
    /// The time it is due at, or `None` if that was too long ago.
    pub(super) at: Option<Time>,
    /// The number of runs that were missed.
    pub(super) missed: u64,
}

impl Timetable {
    /// Advances to `now` and returns the handlers that are due. A handler that is new, or has a new schedule, is first
    /// due at the next time after `now`.
    pub(super) fn advance<'a>(
        &mut self,
        handlers: impl Iterator<Item = &'a Arc<HandlerVersion>>,
        now: Time,
    ) -> Vec<DueRun> {
        let anew = self.looked.is_some_and(|looked| now < looked - BACK);
        self.looked = Some(now);
        let mut before = std::mem::take(&mut self.lines);
        let mut due = Vec::new();
        for entry in handlers {
            let Some(schedule) = &entry.schedule else { continue };
            let line = before.remove(&entry.name).filter(|line| line.schedule == *schedule && !anew);
            let mut line = line
                .unwrap_or_else(|| ScheduleLine { schedule: schedule.clone(), next: schedule.after(now) });
            due.extend(line.pass(entry, now));
            self.lines.insert(entry.name.clone(), line);
        }
        due
    }

    /// Returns the earliest next run.
    pub(super) fn next(&self) -> Option<Time> {
        self.lines.values().filter_map(|line| line.next).min()
    }
}

impl ScheduleLine {
    /// Passes all times up to `now`. Returns `None` if there was none.
    fn pass(&mut self, entry: &Arc<HandlerVersion>, now: Time) -> Option<DueRun> {
        let first = self.next.filter(|next| *next <= now)?;
        let next = |time: &Time| self.schedule.after(*time).filter(|time| *time <= now);
        let (mut last, mut passed) = (first, 0);
        for time in std::iter::successors(Some(first), next).take(COUNTED) {
            last = time;
            passed += 1;
        }
        self.next = self.schedule.after(now);
        let at = Some(last).filter(|last| now - *last <= LATE);
        Some(DueRun { entry: entry.clone(), at, missed: passed - u64::from(at.is_some()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, cron: &str) -> Arc<HandlerVersion> {
        Arc::new(HandlerVersion {
            schedule: Some(Schedule::parse(cron).unwrap()),
            ..HandlerVersion::idle(name)
        })
    }

    /// A timetable of one handler, with a clock that the test sets.
    struct Bench {
        table: Timetable,
        entry: Arc<HandlerVersion>,
    }

    impl Bench {
        fn new(cron: &str) -> Bench {
            Bench { table: Timetable::default(), entry: entry("tidy", cron) }
        }

        /// Advances to `12:34:56`, on a given day if the text has one, and returns what is due.
        fn at(&mut self, time: &str) -> Option<(Option<String>, u64)> {
            let now: Time = format!("2026-03-{time}Z").parse().unwrap();
            let mut due = self.table.advance(std::iter::once(&self.entry), now);
            assert!(due.len() <= 1);
            let DueRun { at, missed, .. } = due.pop()?;
            Some((at.map(|at| at.format("%H:%M:%S").to_string()), missed))
        }
    }

    fn run(at: &str, missed: u64) -> Option<(Option<String>, u64)> {
        Some((Some(at.to_owned()), missed))
    }

    #[test]
    fn each_time_comes_once() {
        let mut bench = Bench::new("*/5 * * * *");
        assert_eq!(bench.at("29T01:00:00"), None);
        assert_eq!(bench.at("29T01:04:59.999"), None);
        assert_eq!(bench.at("29T01:05:00"), run("01:05:00", 0));
        assert_eq!(bench.at("29T01:05:00.5"), None);
        assert_eq!(bench.table.next(), Some("2026-03-29T01:10:00Z".parse().unwrap()));
        assert_eq!(bench.at("29T01:10:30"), run("01:10:00", 0));
    }

    #[test]
    fn a_clock_that_jumps_starts_no_storm() {
        let mut bench = Bench::new("* * * * *");
        assert_eq!(bench.at("29T01:00:30"), None);
        assert_eq!(bench.at("29T04:00:10"), run("04:00:00", 179));
        let mut daily = Bench::new("0 3 * * *");
        assert_eq!(daily.at("29T01:00:00"), None);
        assert_eq!(daily.at("31T09:00:00"), Some((None, 3)));
        assert_eq!(daily.table.next(), Some("2026-04-01T03:00:00Z".parse().unwrap()));
    }

    #[test]
    fn a_clock_that_is_set_back_a_little_repeats_nothing_and_one_set_back_far_begins_anew() {
        let mut bench = Bench::new("* * * * *");
        assert_eq!(bench.at("29T01:00:30"), None);
        assert_eq!(bench.at("29T01:01:00"), run("01:01:00", 0));
        assert_eq!(bench.at("29T01:00:40"), None);
        assert_eq!(bench.at("29T01:01:00"), None);
        assert_eq!(bench.at("29T01:02:00"), run("01:02:00", 0));
        assert_eq!(bench.at("28T01:02:30"), None);
        assert_eq!(bench.at("28T01:03:00"), run("01:03:00", 0));
    }

    #[test]
    fn another_schedule_takes_the_place_of_the_old_one_at_once() {
        let mut bench = Bench::new("* * * * *");
        assert_eq!(bench.at("29T01:00:30"), None);
        bench.entry = entry("tidy", "30 * * * *");
        assert_eq!(bench.at("29T01:01:00"), None);
        assert_eq!(bench.at("29T01:30:00"), run("01:30:00", 0));
        // The same schedule in another version goes on where it was.
        bench.entry = entry("tidy", "30 * * * *");
        assert_eq!(bench.at("29T02:30:01"), run("02:30:00", 0));
        assert!(bench.table.advance(std::iter::empty(), "2026-03-29T02:31:00Z".parse().unwrap()).is_empty());
        assert_eq!(bench.table.next(), None);
    }

    #[test]
    fn a_long_sleep_is_not_counted_for_ever() {
        let mut bench = Bench::new("* * * * * *");
        assert_eq!(bench.at("01T00:00:00.5"), None);
        let (at, missed) = bench.at("31T00:00:00").unwrap();
        assert_eq!((at, missed), (None, 10_000));
    }
}
