//! Reads `handler.NAME.schedule`: when a handler runs by itself.

use super::reader::Keyed;
use super::report::Diagnostics;
use super::schedule_schema::{self, Scheduled};
use super::values::args;
use crate::job::{Overlap, Schedule};

/// Reads a schedule. Returns `None` if it is invalid; the error is reported.
pub(super) fn read(
    Keyed { value, key, line }: &Keyed<Scheduled>,
    report: &Diagnostics<'_>,
) -> Option<Schedule> {
    let parse = |text: &String| Schedule::parse(text).map(Some);
    match value {
        Scheduled::Cron(text) => parse(text).unwrap_or_else(|message| {
            report.add(*line, key, message);
            None
        }),
        Scheduled::Table(schedule_schema::Schedule { cron, args: written, stdin, overlap }) => {
            if cron.is_none() {
                report.missing(*line, key, "cron", "write cron = \"*/5 * * * *\"");
            }
            let mut schedule = report.settle(cron.as_ref(), None, parse)?;
            let overlaps = overlap.as_ref().is_some_and(|at| at.value);
            schedule.args = written.as_ref().map(|list| args(&list.value, report)).unwrap_or_default();
            schedule.stdin = stdin.as_ref().map(|at| at.value.clone()).unwrap_or_default();
            schedule.overlap = if overlaps { Overlap::Allowed } else { Overlap::Refused };
            Some(schedule)
        }
    }
}
