//! What the client has to send next, and until when; `deadline_io` fails the read that is too late.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// What a connection, or one HTTP/2 stream, waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(in crate::http) enum ReadPhase {
    /// The first byte of a request.
    HeadStart,
    /// The rest of a head.
    HeadRest,
    /// A response.
    Answer,
    /// The response is complete, but part of it is not flushed yet.
    Sending,
    /// HTTP/2: each stream has a state of its own.
    Streams,
    /// Nothing: HTTP is over on this connection.
    Switched,
}

/// The phase of a connection or stream, and its deadline.
pub(in crate::http) struct ReadDeadline {
    start: Instant,
    phase: AtomicU8,
    /// Milliseconds from `start` at which the client must have sent something, or `NEVER`.
    due: AtomicU64,
    /// Milliseconds from `start` at which the latest wait with a deadline began.
    since: AtomicU64,
    /// How many milliseconds a head that has begun may take, until a wait for its rest sets `due`. Then `NEVER`. Most
    /// heads come as a whole, and need no clock.
    head: AtomicU64,
    /// How many milliseconds the head may take that has begun behind the request in progress. `NEVER` if there is none.
    next_head: AtomicU64,
    /// The field section of HTTP/2 that `due` is for, or 0.
    section: AtomicU64,
}

const NEVER: u64 = u64::MAX;

impl ReadPhase {
    /// The phases, each at the place of its number.
    const ALL: [ReadPhase; 6] = [
        ReadPhase::HeadStart,
        ReadPhase::HeadRest,
        ReadPhase::Answer,
        ReadPhase::Sending,
        ReadPhase::Streams,
        ReadPhase::Switched,
    ];
}

/// The side that changes the phase and its deadline.
pub(super) struct ReadDeadlineWriter<'m>(&'m ReadDeadline);

impl ReadDeadline {
    /// Starts in a phase without a deadline.
    pub(in crate::http) fn new(start: Instant, phase: ReadPhase) -> ReadDeadline {
        ReadDeadline {
            start,
            phase: AtomicU8::new(phase as u8),
            due: AtomicU64::new(NEVER),
            since: AtomicU64::new(0),
            head: AtomicU64::new(NEVER),
            next_head: AtomicU64::new(NEVER),
            section: AtomicU64::new(0),
        }
    }

    /// Returns the side that changes the phase.
    pub(super) fn writer(&self) -> ReadDeadlineWriter<'_> {
        ReadDeadlineWriter(self)
    }

    pub(in crate::http) fn phase(&self) -> ReadPhase {
        let phase = usize::from(self.phase.load(Ordering::Relaxed));
        ReadPhase::ALL.get(phase).copied().unwrap_or(ReadPhase::Switched)
    }

    /// Returns when the client must have sent something. Every wait for the client asks this first. Only the task of
    /// the connection may ask.
    pub(in crate::http) fn due(&self) -> Option<Instant> {
        let head = self.head.load(Ordering::Relaxed);
        if head != NEVER {
            self.head.store(NEVER, Ordering::Relaxed);
            self.wait(Duration::from_millis(head));
        }
        match self.due.load(Ordering::Relaxed) {
            NEVER => None,
            due => Some(self.start + Duration::from_millis(due)),
        }
    }

    /// Returns when the latest wait with a deadline began.
    pub(in crate::http) fn since(&self) -> Instant {
        self.start + Duration::from_millis(self.since.load(Ordering::Relaxed))
    }

    /// Sets the deadline of a wait that begins now.
    fn wait(&self, within: Duration) {
        let now = self.start.elapsed();
        self.since.store(millis(now), Ordering::Relaxed);
        self.due.store(millis(now + within), Ordering::Relaxed);
    }
}

impl ReadDeadlineWriter<'_> {
    fn enter(&self, phase: ReadPhase, within: Option<Duration>) {
        self.0.head.store(NEVER, Ordering::Relaxed);
        match within {
            Some(within) => self.0.wait(within),
            None => self.0.due.store(NEVER, Ordering::Relaxed),
        }
        self.0.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Notes that the connection can be read from.
    pub(super) fn connected(&self, first_byte: Duration) {
        self.enter(ReadPhase::HeadStart, Some(first_byte));
    }

    /// Notes that the connection speaks HTTP/2. Each stream has deadlines of its own.
    pub(super) fn multiplexed(&self) {
        // The connection is idle since its first byte.
        let _set = self.0.due();
        self.enter(ReadPhase::Streams, None);
    }

    /// Notes which field section of an HTTP/2 connection has begun and not ended, by its number from 1. It has to end
    /// `within` this time, however its bytes come. The connection is as idle as before.
    pub(super) fn section_open(&self, section: Option<u64>, within: Duration) {
        let number = section.unwrap_or_default();
        if self.0.phase() != ReadPhase::Streams || self.0.section.swap(number, Ordering::Relaxed) == number {
            return;
        }
        let due = section.map_or(NEVER, |_| millis(self.0.start.elapsed() + within));
        self.0.due.store(due, Ordering::Relaxed);
    }

    /// Notes that a byte has come where a head may begin. The deadline runs from the first wait for the rest: the reader
    /// waits as soon as it has no more bytes.
    pub(super) fn head_begun(&self, head: Duration) {
        if let ReadPhase::HeadStart | ReadPhase::Sending = self.0.phase() {
            self.0.head.store(millis(head), Ordering::Relaxed);
            self.0.phase.store(ReadPhase::HeadRest as u8, Ordering::Relaxed);
        }
    }

    /// Notes how long the head may take whose beginning is the last of the bytes so far, or `None` if they end with a
    /// message or in its body. It may have come with the request in progress. Then it is noticed once the response is
    /// sent.
    pub(super) fn next_head(&self, head: Option<Duration>) {
        self.0.next_head.store(head.map_or(NEVER, millis), Ordering::Relaxed);
    }

    /// Notes that the head of a request is complete. No deadline runs for the client while the handler works. The
    /// bodies of request and response have deadlines of their own.
    pub(super) fn head_complete(&self) {
        self.enter(ReadPhase::Answer, None);
    }

    /// Notes that the response is complete.
    pub(super) fn answered(&self) {
        self.0.phase.store(ReadPhase::Sending as u8, Ordering::Relaxed);
    }

    /// Notes that all written bytes are flushed. After a response, the connection is then idle, unless the next head has
    /// begun. The time of that head begins now: no deadline runs for the client while the handler works.
    pub(super) fn flushed(&self, keep_alive: Duration) {
        if self.0.phase() != ReadPhase::Sending {
            return;
        }
        match self.0.next_head.load(Ordering::Relaxed) {
            NEVER => self.enter(ReadPhase::HeadStart, Some(keep_alive)),
            head => self.enter(ReadPhase::HeadRest, Some(Duration::from_millis(head))),
        }
    }

    /// Notes that the connection has left HTTP. It has no deadlines any more.
    pub(super) fn switched(&self) {
        self.enter(ReadPhase::Switched, None);
    }
}

/// Rounds a time down to whole milliseconds.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NEVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_event_leads_to_its_phase_and_deadline() {
        const TIME: Duration = Duration::from_secs(7);
        type Event = fn(&ReadDeadline);
        let events: [(&str, Event); 7] = [
            ("connected", |state| state.writer().connected(TIME)),
            ("begun", |state| state.writer().head_begun(TIME)),
            ("complete", |state| state.writer().head_complete()),
            ("answered", |state| state.writer().answered()),
            ("flushed", |state| state.writer().flushed(TIME)),
            ("multiplexed", |state| state.writer().multiplexed()),
            ("switched", |state| state.writer().switched()),
        ];
        // In the order of the events: the phase that each phase comes to, `-` where it stays.
        for (phase, next) in [
            (ReadPhase::HeadStart, "HeadStart HeadRest Answer Sending - Streams Switched"),
            (ReadPhase::HeadRest, "HeadStart - Answer Sending - Streams Switched"),
            (ReadPhase::Answer, "HeadStart - Answer Sending - Streams Switched"),
            (ReadPhase::Sending, "HeadStart HeadRest Answer Sending HeadStart Streams Switched"),
            (ReadPhase::Streams, "HeadStart - Answer Sending - Streams Switched"),
            (ReadPhase::Switched, "HeadStart - Answer Sending - Streams Switched"),
        ] {
            for ((event, apply), next) in events.iter().zip(next.split(' ')) {
                let state = ReadDeadline::new(Instant::now(), phase);

                apply(&state);

                let expected = next.replace('-', &format!("{phase:?}"));
                assert_eq!(format!("{:?}", state.phase()), expected, "{phase:?} {event}");
                let waits = matches!(next, "HeadStart" | "HeadRest").then(|| Instant::now() + TIME);
                assert_eq!(state.due(), waits, "{phase:?} {event}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_field_section_of_http2_has_one_deadline_and_the_next_has_its_own() {
        const TIME: Duration = Duration::from_secs(7);
        let state = ReadDeadline::new(Instant::now(), ReadPhase::HeadStart);
        state.writer().section_open(Some(1), TIME);
        assert_eq!(state.due(), None, "the connection does not speak HTTP/2");
        state.writer().multiplexed();
        let mut last = None;
        // Each section, and whether its deadline is a new one.
        for (section, is_new) in
            [(Some(1), true), (Some(1), false), (Some(2), true), (None, true), (Some(3), true)]
        {
            tokio::time::advance(Duration::from_secs(1)).await;

            state.writer().section_open(section, TIME);

            let wanted = if is_new { section.map(|_| Instant::now() + TIME) } else { last };
            assert_eq!(state.due(), wanted, "{section:?}");
            assert_eq!(state.phase(), ReadPhase::Streams);
            last = wanted;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_of_a_head_is_set_by_the_first_wait_and_no_later_byte_moves_it() {
        const TIME: Duration = Duration::from_secs(7);
        let state = ReadDeadline::new(Instant::now(), ReadPhase::HeadStart);
        state.writer().connected(TIME / 2);
        state.writer().head_begun(TIME);
        let wanted = Instant::now() + TIME;
        assert_eq!(state.due(), Some(wanted));

        tokio::time::advance(TIME / 7).await;
        state.writer().head_begun(TIME);

        assert_eq!(state.due(), Some(wanted));
        state.writer().head_complete();
        assert_eq!(state.due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_has_begun_before_the_response_is_sent_has_its_time_from_then_on() {
        const HEAD: Duration = Duration::from_secs(4);
        const KEEP_ALIVE: Duration = Duration::from_secs(60);
        type Event = fn(&ReadDeadline);
        let begins: Event = |state| state.writer().next_head(Some(HEAD));
        let ends: Event = |state| state.writer().next_head(None);
        let complete: Event = |state| state.writer().head_complete();
        let answered: Event = |state| state.writer().answered();
        let flushed: Event = |state| state.writer().flushed(KEEP_ALIVE);
        // The events, one a second. Behind them: the phase and its time.
        for (events, phase, time) in [
            (&[ends, complete, answered, flushed][..], ReadPhase::HeadStart, Some(KEEP_ALIVE)),
            (&[begins, complete, answered, flushed], ReadPhase::HeadRest, Some(HEAD)),
            (&[ends, complete, begins, answered, flushed], ReadPhase::HeadRest, Some(HEAD)),
            (&[ends, complete, answered, begins, flushed], ReadPhase::HeadRest, Some(HEAD)),
            (&[begins, complete, answered], ReadPhase::Sending, None),
            (&[begins, complete, flushed], ReadPhase::Answer, None),
            (&[begins, complete, ends, answered, flushed], ReadPhase::HeadStart, Some(KEEP_ALIVE)),
            (&[begins, complete, answered, flushed, ends, complete], ReadPhase::Answer, None),
            (
                &[begins, complete, answered, flushed, ends, complete, answered, flushed],
                ReadPhase::HeadStart,
                Some(KEEP_ALIVE),
            ),
        ] {
            let state = ReadDeadline::new(Instant::now(), ReadPhase::HeadRest);
            for event in events {
                tokio::time::advance(Duration::from_secs(1)).await;
                event(&state);
            }

            let due = time.map(|time| Instant::now() + time);
            assert_eq!((state.phase(), state.due()), (phase, due), "{} events", events.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_comes_as_a_whole_leaves_no_deadline() {
        const TIME: Duration = Duration::from_secs(7);
        let state = ReadDeadline::new(Instant::now(), ReadPhase::HeadStart);
        state.writer().head_begun(TIME);

        state.writer().head_complete();

        assert_eq!(state.due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_http2_begins_at_its_first_bytes() {
        const TIME: Duration = Duration::from_secs(7);
        let state = ReadDeadline::new(Instant::now(), ReadPhase::HeadStart);
        state.writer().connected(TIME);
        tokio::time::advance(TIME / 7).await;
        state.writer().head_begun(TIME);

        state.writer().multiplexed();

        assert_eq!((state.since(), state.due()), (Instant::now(), None));
    }

    #[test]
    fn each_phase_is_found_by_its_number() {
        for phase in ReadPhase::ALL {
            assert_eq!(ReadDeadline::new(Instant::now(), phase).phase(), phase);
        }
    }
}
