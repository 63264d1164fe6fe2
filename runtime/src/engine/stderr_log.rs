//! Writes the stderr of jobs to the log and the journal, line by line.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tracing::{debug, info, warn};

use super::journal::{Event, Journal};
use crate::job::{Destination, HandlerVersion, Job, Kind, Label, Limits, LogRate};
use crate::observe::log_format::json_field;
use crate::observe::plain;
use crate::observe::traces::TraceId;

/// The maximum length of a logged line, in bytes. A longer line is logged in pieces.
const LINE: usize = 4 << 10;

/// The destination of every job's stderr: log and journal, with the job's number on each line.
pub(super) struct StderrLog {
    label: Label,
    /// `None` if the job is not traced.
    trace: Option<TraceId>,
    entry: Arc<HandlerVersion>,
    journal: Arc<Journal>,
    said: Mutex<StderrState>,
}

/// The state of a job's stderr.
#[derive(Default)]
struct StderrState {
    /// The beginning of a line that is not complete yet.
    begun: Vec<u8>,
    /// `None` until the job has written something.
    allowance: Option<StderrAllowance>,
}

/// How much a job may still log.
struct StderrAllowance {
    pace: LogRate,
    bytes: u64,
    left_out: LeftOut,
}

/// The lines left out since the last logged line, by the limit that applied.
#[derive(Default, PartialEq, Eq, Debug)]
struct LeftOut {
    rate: u64,
    size: u64,
}

impl StderrLog {
    pub(super) fn of(job: &Job, journal: &Arc<Journal>) -> Arc<StderrLog> {
        let (entry, journal) = (job.entry.clone(), journal.clone());
        let trace = job.usage.spans.trace_id();
        Arc::new(StderrLog { label: job.label(), trace, entry, journal, said: Mutex::default() })
    }

    /// Logs the last line, if it has no newline, and the number of lines left out.
    pub(super) fn finish(&self) {
        let mut said = self.lock();
        let StderrState { begun, allowance } = &mut *said;
        if let Some(allowance) = allowance {
            if !begun.is_empty() {
                self.log(begun, allowance);
                begun.clear();
            }
            self.own_up(allowance);
        }
    }

    fn lock(&self) -> MutexGuard<'_, StderrState> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs the number of lines left out, if there are any.
    fn own_up(&self, allowance: &mut StderrAllowance) {
        let LeftOut { rate, size } = std::mem::take(&mut allowance.left_out);
        for (lines, limit) in [(rate, "stderr_rate"), (size, "stderr")] {
            if lines > 0 {
                let (label, name) = (self.label, &self.entry.name);
                warn!("[{label}] {name}: {lines} lines on stderr were left out here (limits.{limit})");
            }
        }
    }

    /// Logs one line. Control characters are escaped, so a line cannot forge another.
    fn log(&self, line: &[u8], allowance: &mut StderrAllowance) {
        if !allowance.admits(line.len(), Instant::now()) {
            return self.entry.record.leave_out(1);
        }
        self.own_up(allowance);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = String::from_utf8_lossy(line);
        let plain = plain(&text).into_owned();
        let (label, name) = (self.label, &self.entry.name);
        match self.entry.kind {
            // The caller of a native job gets its message, or logs it.
            Kind::Native => debug!("[{label}] {name}: {plain}"),
            Kind::Core | Kind::Command | Kind::Proxy => {
                info!(trace_id = json_field(self.trace), "[{label}] {name}: {plain}");
            }
        }
        self.journal.add(label, name, Event::Said(plain));
    }
}

impl StderrAllowance {
    fn new(limits: &Limits, now: Instant) -> StderrAllowance {
        let pace = LogRate::new(limits.stderr_rate, now);
        StderrAllowance { pace, bytes: limits.stderr, left_out: LeftOut::default() }
    }

    /// Deducts a line from the allowance. Returns `false` if it exceeds a limit, and counts it as
    /// left out.
    fn admits(&mut self, length: usize, now: Instant) -> bool {
        match self.bytes.checked_sub(length as u64) {
            None => self.left_out.size += 1,
            Some(_) if !self.pace.admits([length], now) => self.left_out.rate += 1,
            Some(bytes) => {
                self.bytes = bytes;
                return true;
            }
        }
        false
    }
}

impl Destination for StderrLog {
    fn write(&self, bytes: &Bytes) -> io::Result<()> {
        let mut said = self.lock();
        let StderrState { begun, allowance } = &mut *said;
        let limits = &self.entry.limits;
        let allowance = allowance.get_or_insert_with(|| StderrAllowance::new(limits, Instant::now()));
        for piece in bytes.split_inclusive(|byte| *byte == b'\n').flat_map(|piece| piece.chunks(LINE)) {
            begun.extend_from_slice(piece);
            if begun.ends_with(b"\n") || begun.len() >= LINE {
                self.log(begun.strip_suffix(b"\n").unwrap_or(begun), allowance);
                begun.clear();
            }
        }
        Ok(())
    }
}

/// Flushes also when the job is dropped before its end.
impl Drop for StderrLog {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn allowance(stderr: u64, stderr_rate: u32, now: Instant) -> StderrAllowance {
        StderrAllowance::new(&Limits { stderr, stderr_rate, ..Limits::default() }, now)
    }

    #[test]
    fn a_flood_is_cut_down_to_a_rate_and_counted() {
        let start = Instant::now();
        let mut allowance = allowance(u64::MAX, 100, start);
        let later = |milliseconds| start + Duration::from_millis(milliseconds);

        let admitted = (0..5000).filter(|_| allowance.admits(80, start)).count();

        assert_eq!((admitted, &allowance.left_out), (1000, &LeftOut { rate: 4000, size: 0 }));
        assert!(allowance.admits(80, later(10)) && !allowance.admits(80, later(10)));
        assert!((0..2000).filter(|_| allowance.admits(80, later(90_000))).count() == 1000);
        assert!((0..2000).filter(|_| allowance.admits(LINE, later(900_000))).count() == 1000 / 17);
    }

    #[test]
    fn what_is_said_is_logged_up_to_its_size_and_not_one_byte_further() {
        let start = Instant::now();
        let mut allowance = allowance(160, 100, start);

        let admitted = [80, 81, 80, 1].map(|length| allowance.admits(length, start));

        assert_eq!(admitted, [true, false, true, false]);
        assert_eq!(allowance.left_out, LeftOut { rate: 0, size: 2 });
    }
}
