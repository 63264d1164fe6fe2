//! What jobs said and how they ended, lately: a ring in memory that may be followed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::job::{Label, Name};
use crate::observe::log;

/// Lines kept.
const LINES: usize = 1000;

/// Bytes of text kept, so that long lines do not cost what short ones do not.
const BYTES: usize = 1 << 20;

/// Lines a follower is given at once.
const BATCH: usize = 128;

/// The ring. Writing to it never waits for whoever reads it.
#[derive(Default)]
pub struct Journal {
    ring: Mutex<Ring>,
    grown: Notify,
    followers: AtomicUsize,
}

/// One entry of the journal.
#[derive(Clone, Debug)]
pub struct Line {
    /// When, as RFC 3339 has it.
    pub time: String,
    /// The job it is about.
    pub job: Label,
    /// What ran the job.
    pub handler: Name,
    /// What happened.
    pub event: Event,
}

/// What happened to a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// It wrote this line to stderr, control characters escaped.
    Said(String),
    /// It ended: how.
    Ended(String),
}

/// A reader that is given every line from some point on, or the number of those it was too slow for.
pub struct Follower {
    journal: Arc<Journal>,
    next: u64,
}

/// What a follower is given.
pub struct Batch {
    /// Lines that left the ring before they could be given.
    pub dropped: u64,
    /// The lines that came after those.
    pub lines: Vec<Arc<Line>>,
}

#[derive(Default)]
struct Ring {
    lines: VecDeque<Arc<Line>>,
    bytes: usize,
    /// The number of the first line that is kept; lines are counted from 0.
    first: u64,
    closed: bool,
}

impl Journal {
    /// Adds a line. Never waits.
    pub(super) fn add(&self, job: Label, handler: &Name, event: Event) {
        let line = Arc::new(Line { time: log::now(), job, handler: handler.clone(), event });
        self.ring().push(line);
        self.grown.notify_waiters();
    }

    /// Reports whether anybody wants to know of every job, also of those that end well.
    pub(super) fn is_followed(&self) -> bool {
        self.followers.load(Ordering::Relaxed) > 0
    }

    /// Ends every follower once it has all lines.
    pub(super) fn close(&self) {
        self.ring().closed = true;
        self.grown.notify_waiters();
    }

    /// Returns the lines that are kept, oldest first.
    pub fn recent(&self) -> Vec<Arc<Line>> {
        self.ring().lines.iter().cloned().collect()
    }

    /// Returns the lines that are kept and what gives those that follow.
    pub fn follow(self: &Arc<Self>) -> (Vec<Arc<Line>>, Follower) {
        self.followers.fetch_add(1, Ordering::Relaxed);
        let ring = self.ring();
        let next = ring.first + ring.lines.len() as u64;
        (ring.lines.iter().cloned().collect(), Follower { journal: self.clone(), next })
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// Waits for lines; none: the daemon ends.
    ///
    /// # Cancel safety
    /// A dropped wait loses no line.
    pub async fn next(&mut self) -> Option<Batch> {
        loop {
            // Made before the look, so that a line that comes in between is not missed.
            let grown = self.journal.grown.notified();
            {
                let ring = self.journal.ring();
                let dropped = ring.first.saturating_sub(self.next);
                let from = usize::try_from(self.next + dropped - ring.first).unwrap_or_default();
                let lines: Vec<_> = ring.lines.iter().skip(from).take(BATCH).cloned().collect();
                if !lines.is_empty() {
                    self.next += dropped + lines.len() as u64;
                    return Some(Batch { dropped, lines });
                }
                if ring.closed {
                    return None;
                }
            }
            grown.await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.journal.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ring {
    fn push(&mut self, line: Arc<Line>) {
        self.bytes += line.event.text().len();
        self.lines.push_back(line);
        while self.lines.len() > LINES || self.bytes > BYTES {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.event.text().len();
            self.first += 1;
        }
    }
}

impl Event {
    /// Returns what was said, or how the job ended.
    pub fn text(&self) -> &str {
        match self {
            Event::Said(text) | Event::Ended(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobId;

    fn say(journal: &Journal, text: &str) {
        let name: Name = "a".parse().unwrap();
        journal.add(Label { id: JobId(1), parent: None }, &name, Event::Said(text.to_owned()));
    }

    #[tokio::test]
    async fn a_slow_follower_is_told_how_many_lines_it_missed() {
        let journal = Arc::new(Journal::default());
        say(&journal, "before");
        let (before, mut follower) = journal.follow();
        for number in 0..LINES + 3 {
            say(&journal, &number.to_string());
        }

        let batch = follower.next().await.unwrap();

        assert_eq!(before.len(), 1);
        assert_eq!((batch.dropped, batch.lines.len()), (3, BATCH));
        assert_eq!(batch.lines[0].event, Event::Said("3".to_owned()));
    }

    #[tokio::test]
    async fn a_follower_waits_for_a_line_and_ends_with_the_journal() {
        let journal = Arc::new(Journal::default());
        let (_, mut follower) = journal.follow();
        let waiting = tokio::spawn(async move {
            let first = follower.next().await.map(|batch| batch.lines[0].event.clone());
            (first, follower.next().await.is_none())
        });
        tokio::task::yield_now().await;

        say(&journal, "now");
        journal.close();

        assert_eq!(waiting.await.unwrap(), (Some(Event::Said("now".to_owned())), true));
        assert!(!journal.is_followed());
    }

    #[test]
    fn long_lines_push_out_more_than_their_number() {
        let journal = Journal::default();
        for _ in 0..5 {
            say(&journal, &"x".repeat(BYTES / 3));
        }
        assert_eq!(journal.recent().len(), 3);
    }
}
