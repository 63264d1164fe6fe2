//! What a job says on stderr, line by line into the log and the journal.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::{debug, info, warn};

use super::journal::{Event, Journal};
use crate::job::{Destination, Job, JobId, Kind, Name};

/// A line longer than this is logged in pieces, in bytes.
const LINE: usize = 4 << 10;

/// Lines a job may log at once; after that it gets one more every [`REFILL`]. A long line counts as
/// one for each [`SHARE`] bytes. Without this bound a job fills the disk, and pushes the lines of the
/// others out of the log's queue.
const BURST: u32 = 1000;
const REFILL: Duration = Duration::from_millis(10);
const SHARE: usize = 256;

/// The destination that every job's stderr has: log and journal, with the job's number on each line.
pub(super) struct Complaints {
    id: JobId,
    name: Name,
    kind: Kind,
    journal: Arc<Journal>,
    said: Mutex<Said>,
}

/// How far a job has come.
struct Said {
    /// The beginning of a line whose end is still to come.
    begun: Vec<u8>,
    allowance: Allowance,
}

/// How many lines a job may still log.
struct Allowance {
    lines: u32,
    refilled: Instant,
    /// Lines that were left out since the last that was logged.
    left_out: u64,
}

impl Complaints {
    pub(super) fn of(job: &Job, journal: &Arc<Journal>) -> Arc<Complaints> {
        Arc::new(Complaints {
            id: job.id,
            name: job.name().clone(),
            kind: job.entry.kind,
            journal: journal.clone(),
            said: Mutex::new(Said { begun: Vec::new(), allowance: Allowance::new(Instant::now()) }),
        })
    }

    /// Logs the last line, if it has no newline, and how many were left out.
    pub(super) fn finish(&self) {
        let mut said = self.lock();
        let begun = std::mem::take(&mut said.begun);
        if !begun.is_empty() {
            self.log(&begun, &mut said.allowance);
        }
        self.own_up(&mut said.allowance);
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs that lines were left out, if any were.
    fn own_up(&self, allowance: &mut Allowance) {
        match std::mem::take(&mut allowance.left_out) {
            0 => {}
            lines => warn!("[{}] {}: {lines} lines on stderr were left out here", self.id, self.name),
        }
    }

    /// Logs one line; what could move a terminal's cursor or forge a second line is escaped.
    fn log(&self, line: &[u8], allowance: &mut Allowance) {
        if !allowance.admits(line.len(), Instant::now()) {
            return;
        }
        self.own_up(allowance);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = String::from_utf8_lossy(line);
        let plain: String = text.chars().flat_map(escaped).collect();
        match self.kind {
            // Whoever asked for the job is told, and logs it if it has nobody to tell.
            Kind::Native => debug!("[{}] {}: {plain}", self.id, self.name),
            Kind::Core | Kind::Command => info!("[{}] {}: {plain}", self.id, self.name),
        }
        self.journal.add(self.id, &self.name, Event::Said(plain));
    }
}

impl Allowance {
    fn new(now: Instant) -> Allowance {
        Allowance { lines: BURST, refilled: now, left_out: 0 }
    }

    /// Takes a line off, or counts it as left out.
    fn admits(&mut self, length: usize, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.refilled);
        let fresh = u32::try_from(elapsed.as_nanos() / REFILL.as_nanos()).unwrap_or(u32::MAX);
        if fresh > 0 {
            self.lines = self.lines.saturating_add(fresh).min(BURST);
            self.refilled = now;
        }
        let cost = u32::try_from(length / SHARE).unwrap_or(u32::MAX).saturating_add(1);
        let left = self.lines.checked_sub(cost);
        self.lines = left.unwrap_or(self.lines);
        self.left_out += u64::from(left.is_none());
        left.is_some()
    }
}

/// Escapes a control character, except a tab; everything else stays.
fn escaped(letter: char) -> impl Iterator<Item = char> {
    let control = letter.is_control() && letter != '\t';
    let escape = control.then(|| letter.escape_default());
    escape.into_iter().flatten().chain((!control).then_some(letter))
}

impl Destination for Complaints {
    fn write(&self, bytes: &Bytes) -> io::Result<()> {
        let mut said = self.lock();
        let Said { begun, allowance } = &mut *said;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_down_to_a_rate_and_counted() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);

        let admitted = (0..5000).filter(|_| allowance.admits(80, start)).count();

        assert_eq!((admitted, allowance.left_out), (1000, 4000));
        assert!(allowance.admits(80, start + REFILL) && !allowance.admits(80, start + REFILL));
        assert!((0..2000).filter(|_| allowance.admits(80, start + REFILL * 9000)).count() == 1000);
        assert!((0..2000).filter(|_| allowance.admits(LINE, start + REFILL * 90_000)).count() == 1000 / 17);
    }

    #[test]
    fn a_line_cannot_forge_another_or_move_the_cursor() {
        let text: String = "a\u{1b}[2Jb\tc\rd".chars().flat_map(escaped).collect();
        assert_eq!(text, "a\\u{1b}[2Jb\tc\\rd");
    }
}
