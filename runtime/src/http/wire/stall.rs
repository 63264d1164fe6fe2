//! The waits of one direction of a connection while the peer has no room, and what it took meanwhile.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::lazy_timer::LazyTimer;
use super::rate::{MinRate, RateCheck, Tempo};
use crate::job::StopReason;

/// The waits of one kind of write or flush.
pub(in crate::http) struct Stall {
    alarm: LazyTimer,
    idle: Duration,
    tempo: Tempo,
    /// When the peer last took something during this wait, or `None` outside a wait.
    since: Option<Instant>,
    /// When the wait began.
    begun: Option<Instant>,
    /// The total of the earlier waits.
    past: Duration,
    /// How many bytes the peer had taken at the last look.
    taken: u64,
}

impl Stall {
    pub(in crate::http) fn new(idle: Duration, rate: MinRate) -> Stall {
        let (alarm, tempo) = (LazyTimer::default(), Tempo::new(rate));
        Stall { alarm, idle, tempo, since: None, begun: None, past: Duration::ZERO, taken: 0 }
    }

    /// Notes that the peer has room, which ends the wait.
    pub(in crate::http) fn over(&mut self) {
        if let Some(begun) = self.begun.take() {
            self.past += begun.elapsed();
            self.since = None;
        }
    }

    /// Waits until the peer has taken nothing for too long, or too little. `taken` returns how many bytes it
    /// has taken so far. A socket reports room only when a good part of its buffer is free, which takes a slow
    /// peer longer than `idle`. So `taken` is called when the time seems to be over.
    pub(in crate::http) fn poll(
        &mut self,
        context: &mut Context<'_>,
        taken: impl Fn() -> u64,
    ) -> Poll<StopReason> {
        let begun = match self.begun {
            Some(begun) => begun,
            None => {
                let now = Instant::now();
                (self.begun, self.since) = (Some(now), Some(now));
                self.taken = taken();
                now
            }
        };
        loop {
            let since = self.since.unwrap_or(begun);
            let mut due = since + self.idle;
            match self.tempo.judge(self.past + begun.elapsed(), self.taken) {
                RateCheck::TooSlow => {
                    let now = taken();
                    // The judgement used an old count.
                    if now == self.taken {
                        return Poll::Ready(StopReason::TooSlow);
                    }
                    (self.taken, self.since) = (now, Some(Instant::now()));
                    match self.tempo.judge(self.past + begun.elapsed(), now) {
                        RateCheck::TooSlow => return Poll::Ready(StopReason::TooSlow),
                        RateCheck::Open(_) => continue,
                    }
                }
                RateCheck::Open(Some(left)) => due = due.min(Instant::now() + left),
                RateCheck::Open(None) => {}
            }
            if self.alarm.poll(due, context).is_pending() {
                return Poll::Pending;
            }
            let now = taken();
            if now > self.taken {
                (self.taken, self.since) = (now, Some(Instant::now()));
            } else if since.elapsed() >= self.idle {
                return Poll::Ready(StopReason::TakesNothing);
            }
        }
    }
}
