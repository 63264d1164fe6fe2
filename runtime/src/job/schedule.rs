//! When a handler runs by itself: cron expressions, parsed and evaluated by croner.

use std::fmt;

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// A moment of the wall clock.
pub type Time = DateTime<Utc>;

/// A schedule and the input of its runs.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    text: String,
    /// Arguments that come after the handler's own.
    pub args: Vec<String>,
    /// The stdin of each run.
    pub stdin: String,
    /// Whether a run may start while the previous run goes on.
    pub overlap: Overlap,
}

/// What happens to a run that is due while the previous run goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Overlap {
    /// The run is missed.
    #[default]
    Refused,
    /// Both run concurrently.
    Allowed,
}

impl Schedule {
    /// Parses an expression of cron(8): minute, hour, day of the month, month, day of the week. A
    /// sixth field in front is seconds. Times are in UTC, where no hour is skipped or repeated.
    ///
    /// # Errors
    /// The expression is invalid, or matches no date. The text says so.
    pub fn parse(text: &str) -> Result<Schedule, String> {
        let wanted =
            "wanted minute, hour, day of the month, month and day of the week, such as \"*/5 * * * *\"";
        let cron = cron(text).ok_or_else(|| format!("{wanted}, found {text:?}{}", fault(text)))?;
        let schedule = Schedule {
            cron,
            text: text.to_owned(),
            args: Vec::new(),
            stdin: String::new(),
            overlap: Overlap::default(),
        };
        match schedule.after(Utc::now()) {
            Some(_) => Ok(schedule),
            None => Err(format!("{text:?} never matches: there is no such day")),
        }
    }

    /// Returns the first matching time after `time`, or `None` if there is none.
    pub fn after(&self, time: Time) -> Option<Time> {
        self.cron.find_next_occurrence(&time, false).ok()
    }
}

fn cron(text: &str) -> Option<Cron> {
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    parser.parse(text).ok()
}

/// Describes what is wrong with an expression that cannot be parsed: the number of its fields, or the first field that
/// is invalid by itself. The parser's own messages are for programmers.
fn fault(text: &str) -> String {
    const FIELDS: [&str; 6] = ["second", "minute", "hour", "day of the month", "month", "day of the week"];
    let fields: Vec<&str> = text.split_whitespace().collect();
    let names = match fields.len() {
        5 => &FIELDS[1..],
        6 => &FIELDS[..],
        1 => return ": 1 field instead of 5".to_owned(),
        other => return format!(": {other} fields instead of 5"),
    };
    let is_invalid = |position: usize| {
        let mut alone = vec!["*"; fields.len()];
        alone[position] = fields[position];
        cron(&alone.join(" ")).is_none()
    };
    let invalid = (0..fields.len()).find(|position| is_invalid(*position));
    invalid.map_or_else(String::new, |at| format!(": {:?} is not valid as {}", fields[at], names[at]))
}

/// The expression as it was written.
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
        // Either of the two day fields may match, as in cron(8).
        assert_eq!(times("0 0 1 * SUN", from, 3), ["04-01 00:00:00", "04-05 00:00:00", "04-12 00:00:00"]);
    }

    #[test]
    fn what_never_comes_or_is_no_expression_is_refused() {
        for text in ["", "* * * *", "60 * * * *", "* * * * * * *", "x * * * *", "*/0 * * * *", "0 0 30 2 *"] {
            assert!(Schedule::parse(text).is_err(), "{text:?} must be refused");
        }
        assert!(Schedule::parse("0 0 30 2 *").unwrap_err().contains("never matches"));
    }

    #[test]
    fn what_is_wrong_with_an_expression_is_told_in_the_words_of_cron() {
        for (text, told) in [
            ("", "0 fields instead of 5"),
            ("@never", "1 field instead of 5"),
            ("*/5 * * *", "4 fields instead of 5"),
            ("* * * * * * *", "7 fields instead of 5"),
            ("60 * * * *", "\"60\" is not valid as minute"),
            ("61 * * * * *", "\"61\" is not valid as second"),
            ("* * * * fun", "\"fun\" is not valid as day of the week"),
        ] {
            let wanted =
                "wanted minute, hour, day of the month, month and day of the week, such as \"*/5 * * * *\"";
            let refusal = format!("{wanted}, found {text:?}: {told}");
            assert_eq!(Schedule::parse(text).unwrap_err(), refusal);
        }
    }
}
