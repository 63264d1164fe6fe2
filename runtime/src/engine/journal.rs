//! The recent stderr lines and outcomes of jobs, in a ring buffer that clients can follow.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::job::{Label, Name};
use crate::observe::log;

/// The number of lines kept, over all handlers. If there are more, the oldest line is dropped of a handler
/// that has more than its share. A verbose handler does not displace the lines of others.
const LINES: usize = 1000;

/// The bytes of text kept, which also limits the memory for long lines.
const BYTES: usize = 1 << 20;

/// The most lines in one batch for a follower.
const BATCH: usize = 128;

/// The ring buffer. Writers never wait for readers.
#[derive(Default)]
pub struct Journal {
    ring: Mutex<Ring>,
    grown: Notify,
    followers: AtomicUsize,
}

/// One entry of the journal.
#[derive(Clone, Debug)]
pub struct JournalLine {
    /// The time, in the form of RFC 3339.
    pub time: String,
    /// The job.
    pub job: Label,
    /// The handler of the job.
    pub handler: Name,
    /// What happened.
    pub event: Event,
}

/// What happened to a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// It wrote this line to stderr, control characters escaped.
    Said(String),
    /// It ended, with this description of its outcome.
    Ended(String),
    /// It gave no valid response, for this reason.
    Failed(String),
}

/// A reader that gets every line from some point on, or the number of lines that it missed.
pub struct JournalFollower {
    journal: Arc<Journal>,
    next: u64,
}

/// The next lines for a follower.
pub struct Batch {
    /// Lines that left the ring before this follower read them.
    pub dropped: u64,
    /// The lines after those.
    pub lines: Vec<Arc<JournalLine>>,
}

#[derive(Default)]
struct Ring {
    /// The lines with their numbers, counted from 0. The numbers have gaps.
    lines: VecDeque<(u64, Arc<JournalLine>)>,
    /// The number of the next line.
    next: u64,
    bytes: usize,
    /// The lines and bytes of each handler that has any.
    of: HashMap<Name, HandlerBacklog>,
    closed: bool,
}

/// The lines and bytes kept of one handler.
#[derive(Default)]
struct HandlerBacklog {
    lines: usize,
    bytes: usize,
}

impl Journal {
    /// Adds a line. Never waits.
    pub(super) fn add(&self, job: Label, handler: &Name, event: Event) {
        let line = Arc::new(JournalLine { time: log::now(), job, handler: handler.clone(), event });
        self.ring().push(line);
        self.grown.notify_waiters();
    }

    /// Reports whether there are followers, who want every job reported, even a successful one.
    pub(super) fn is_followed(&self) -> bool {
        self.followers.load(Ordering::Relaxed) > 0
    }

    /// Ends every follower once it has read all lines.
    pub(super) fn close(&self) {
        self.ring().closed = true;
        self.grown.notify_waiters();
    }

    /// Returns the lines that are kept, oldest first.
    pub fn recent(&self) -> Vec<Arc<JournalLine>> {
        self.ring().lines.iter().map(|(_, line)| line.clone()).collect()
    }

    /// Returns the lines that are kept, and a follower for those that come later.
    pub fn follow(self: &Arc<Self>) -> (Vec<Arc<JournalLine>>, JournalFollower) {
        self.followers.fetch_add(1, Ordering::Relaxed);
        let ring = self.ring();
        let follower = JournalFollower { journal: self.clone(), next: ring.next };
        (ring.lines.iter().map(|(_, line)| line.clone()).collect(), follower)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JournalFollower {
    /// Waits for lines. Returns `None` once the daemon shuts down.
    ///
    /// # Cancel safety
    /// A dropped wait loses no line.
    pub async fn next(&mut self) -> Option<Batch> {
        loop {
            // Registered before the check, so a line that is added in between is not missed.
            let grown = self.journal.grown.notified();
            {
                let ring = self.journal.ring();
                let from = ring.lines.partition_point(|(number, _)| *number < self.next);
                let first = ring.lines.get(from).map(|(number, _)| *number);
                let dropped = first.map_or(0, |first| first - self.next);
                // The batch ends before the next gap, which the next batch reports.
                let row = (self.next + dropped..).zip(ring.lines.iter().skip(from)).take(BATCH);
                let row = row.take_while(|(wanted, (number, _))| wanted == number);
                let lines: Vec<_> = row.map(|(_, (_, line))| line.clone()).collect();
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

impl Drop for JournalFollower {
    fn drop(&mut self) {
        self.journal.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ring {
    fn push(&mut self, line: Arc<JournalLine>) {
        let bytes = line.event.text().len();
        self.bytes += bytes;
        let kept = self.of.entry(line.handler.clone()).or_default();
        kept.lines += 1;
        kept.bytes += bytes;
        self.lines.push_back((self.next, line));
        self.next += 1;
        while self.lines.len() > LINES || self.bytes > BYTES {
            self.pop();
        }
    }

    /// Drops the oldest line of a handler that exceeds its share of the limit that was reached.
    fn pop(&mut self) {
        let handlers = self.of.len();
        let has_too_much = |kept: &HandlerBacklog| match self.lines.len() > LINES {
            true => kept.lines > LINES / handlers,
            false => kept.bytes > BYTES / handlers,
        };
        let oldest =
            self.lines.iter().position(|(_, line)| self.of.get(&line.handler).is_some_and(has_too_much));
        let Some((_, line)) = self.lines.remove(oldest.unwrap_or(0)) else { return };
        let bytes = line.event.text().len();
        self.bytes -= bytes;
        if let Some(kept) = self.of.get_mut(&line.handler) {
            kept.lines -= 1;
            kept.bytes -= bytes;
            if kept.lines == 0 {
                self.of.remove(&line.handler);
            }
        }
    }
}

impl Event {
    /// Returns the stderr line, the description of the outcome, or the reason.
    pub fn text(&self) -> &str {
        match self {
            Event::Said(text) | Event::Ended(text) | Event::Failed(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::job::JobId;

    fn say(journal: &Journal, text: &str) {
        say_of("a", journal, text);
    }

    fn say_of(name: &str, journal: &Journal, text: &str) {
        let name: Name = name.parse().unwrap();
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

        let seen = timeout(Duration::from_secs(60), waiting).await.unwrap().unwrap();
        assert_eq!(seen, (Some(Event::Said("now".to_owned())), true));
        assert!(!journal.is_followed());
    }

    #[tokio::test]
    async fn a_handler_that_says_a_lot_leaves_the_lines_of_others_where_they_are() {
        let journal = Arc::new(Journal::default());
        let (_, mut follower) = journal.follow();
        (0..3).for_each(|_| say_of("quiet", &journal, "once"));
        (0..3 * LINES).for_each(|_| say_of("loud", &journal, "again"));
        (0..5).for_each(|_| say_of("long", &journal, &"x".repeat(BYTES / 3)));

        let recent = journal.recent();

        let lines_of = |name: &str| recent.iter().filter(|line| line.handler.as_str() == name).count();
        assert_eq!((lines_of("quiet"), lines_of("long")), (3, 2));
        assert!(lines_of("loud") > LINES / 2);
        // The follower learns of the gap when it reaches it.
        let quiet = follower.next().await.unwrap();
        assert_eq!((quiet.dropped, quiet.lines.len()), (0, 3));
        assert!(follower.next().await.unwrap().dropped >= 2 * LINES as u64);
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
