//! What a job says on stderr, line by line into the log and the journal.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tracing::{debug, info};

use super::journal::{Event, Journal};
use crate::job::{Destination, Job, JobId, Kind, Name};

/// A line longer than this is logged in pieces, in bytes.
const LINE: usize = 4 << 10;

/// The destination that every job's stderr has: log and journal, with the job's number on each line.
pub(super) struct Complaints {
    id: JobId,
    name: Name,
    kind: Kind,
    journal: Arc<Journal>,
    /// The beginning of a line whose end is still to come.
    begun: Mutex<Vec<u8>>,
}

impl Complaints {
    pub(super) fn of(job: &Job, journal: &Arc<Journal>) -> Arc<Complaints> {
        Arc::new(Complaints {
            id: job.id,
            name: job.name().clone(),
            kind: job.entry.kind,
            journal: journal.clone(),
            begun: Mutex::default(),
        })
    }

    /// Logs the last line, if it has no newline.
    pub(super) fn finish(&self) {
        let begun = std::mem::take(&mut *self.begun.lock().unwrap_or_else(PoisonError::into_inner));
        if !begun.is_empty() {
            self.log(&begun);
        }
    }

    /// Logs one line; what could move a terminal's cursor or forge a second line is escaped.
    fn log(&self, line: &[u8]) {
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

/// Escapes a control character, except a tab; everything else stays.
fn escaped(letter: char) -> impl Iterator<Item = char> {
    let control = letter.is_control() && letter != '\t';
    let escape = control.then(|| letter.escape_default());
    escape.into_iter().flatten().chain((!control).then_some(letter))
}

impl Destination for Complaints {
    fn write(&self, bytes: &Bytes) -> io::Result<()> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n').flat_map(|piece| piece.chunks(LINE)) {
            begun.extend_from_slice(piece);
            if begun.ends_with(b"\n") || begun.len() >= LINE {
                let line = std::mem::take(&mut *begun);
                self.log(line.strip_suffix(b"\n").unwrap_or(&line));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_forge_another_or_move_the_cursor() {
        let text: String = "a\u{1b}[2Jb\tc\rd".chars().flat_map(escaped).collect();
        assert_eq!(text, "a\\u{1b}[2Jb\tc\\rd");
    }
}
