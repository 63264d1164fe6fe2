//! When a handler runs by itself: the only place that knows croner.

use std::fmt;

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// A moment by the wall clock.
pub type Time = DateTime<Utc>;

/// When a handler runs by itself, and with what.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    text: String,
    /// Arguments that come after the handler's own.
    pub args: Vec<String>,
    /// What it reads.
    pub stdin: String,
    /// Whether a run may begin while the one before it goes on.
    pub overlap: Overlap,
}

/// What becomes of a run whose time has come while the one before it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Overlap {
    /// It is missed.
    #[default]
    Refused,
    /// Both go on.
    Allowed,
}

impl Schedule {
    /// Reads an expression of cron(8): minute, hour, day of the month, month, day of the week, and
    /// seconds in front of them, if there are six. Times are in UTC, which has no hour that comes
    /// twice or never.
    ///
    /// # Errors
    /// Says what is wrong with it, or that it never comes.
    pub fn parse(text: &str) -> Result<Schedule, String> {
        let wanted =
            "wanted minute, hour, day of the month, month and day of the week, such as \"*/5 * * * *\"";
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| format!("{wanted}, found {text:?}: {error}"))?;
        let schedule = Schedule {
            cron,
            text: text.to_owned(),
            args: Vec::new(),
            stdin: String::new(),
            overlap: Overlap::default(),
        };
        match schedule.after(Utc::now()) {
            Some(_) => Ok(schedule),
            None => Err(format!("{text:?} never comes: there is no such day")),
        }
    }

    /// Returns the first time after another one; none: it never comes again.
    pub fn after(&self, time: Time) -> Option<Time> {
        self.cron.find_next_occurrence(&time, false).ok()
    }
}

/// As it was written.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Schedule) -> bool {
        let Schedule { cron: _, text, args, stdin, overlap } = self;
        (text, args, stdin, overlap) == (&other.text, &other.args, &other.stdin, &other.overlap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(text: &str, from: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(text).unwrap();
        let from: Time = from.parse().unwrap();
        let next = |time: &Time| schedule.after(*time);
        let times = std::iter::successors(next(&from), next).take(count);
        times.map(|time| time.format("%m-%d %H:%M:%S").to_string()).collect()
    }

    #[test]
    fn five_fields_and_six_are_read_as_cron_reads_them() {
        let from = "2026-03-29T00:58:30Z";
        assert_eq!(times("*/5 * * * *", from, 2), ["03-29 01:00:00", "03-29 01:05:00"]);
        assert_eq!(times("*/20 * * * * *", from, 2), ["03-29 00:58:40", "03-29 00:59:00"]);
        assert_eq!(times("0 3 * * MON", from, 2), ["03-30 03:00:00", "04-06 03:00:00"]);
        assert_eq!(times("30 2 29 feb *", from, 1), ["02-29 02:30:00"]);
        // Either day will do, as in cron(8).
        assert_eq!(times("0 0 1 * SUN", from, 3), ["04-01 00:00:00", "04-05 00:00:00", "04-12 00:00:00"]);
    }

    #[test]
    fn what_never_comes_or_is_no_expression_is_refused() {
        for text in ["", "* * * *", "60 * * * *", "* * * * * * *", "x * * * *", "*/0 * * * *", "0 0 30 2 *"] {
            assert!(Schedule::parse(text).is_err(), "{text:?} must be refused");
        }
        assert!(Schedule::parse("0 0 30 2 *").unwrap_err().contains("never comes"));
    }
}
