//! The stop signal: one-way, and visible to all clones.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

/// A signal that a job, a connection or the daemon should end. Clones share it.
#[derive(Clone, Default)]
pub struct Stop(Arc<SharedStop>);

#[derive(Default)]
struct SharedStop {
    reason: AtomicU8,
    raised: Notify,
}

/// Why a job was stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopReason {
    /// The daemon is shutting down and the grace period is over.
    Shutdown,
    /// An operator killed this job.
    Killed,
    /// The client has the whole answer it needs. The job is dropped and did nothing wrong.
    Answered,
    /// The output of the job is not a valid response, which is reported and counted. The job is dropped.
    NoAnswer,
    /// Its client read the response more slowly than required.
    TooSlow,
    /// Its client read nothing of the response for too long.
    TakesNothing,
    /// Its client was slow while other jobs waited for a slot, and its address has more slots than its share.
    OutOfShare,
    /// The connection of its client held more memory than others, while all together held too much.
    Memory,
}

impl Stop {
    /// Makes a signal that is not raised.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Raises the signal. The first reason stays, unless it is only noted and the new one ends the job. Never blocks.
    pub fn raise(&self, reason: StopReason) {
        let code = match reason {
            StopReason::Shutdown => 1,
            StopReason::Killed => 2,
            StopReason::Answered => 3,
            StopReason::NoAnswer => 4,
            StopReason::TooSlow => 5,
            StopReason::TakesNothing => 6,
            StopReason::OutOfShare => 7,
            StopReason::Memory => 8,
        };
        let replace = |found| match StopReason::of(found) {
            Some(found) if !found.is_noted_only() || reason.is_noted_only() => None,
            Some(_) | None => Some(code),
        };
        if self.0.reason.fetch_update(Ordering::AcqRel, Ordering::Acquire, replace).is_ok() {
            self.0.raised.notify_waiters();
        }
    }

    /// Returns the reason, or `None` while the signal is not raised. Never blocks.
    pub fn reason(&self) -> Option<StopReason> {
        StopReason::of(self.0.reason.load(Ordering::Acquire))
    }

    /// Waits until the signal is raised for a reason that ends the job. After a reason that is only noted
    /// ([`StopReason::is_noted_only`]) the job goes on until it is dropped.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the signal stays raised.
    pub async fn raised(&self) -> StopReason {
        loop {
            // Registered before the check, so a signal that is raised in between is not missed.
            let notified = self.0.raised.notified();
            if let Some(reason) = self.reason().filter(|reason| !reason.is_noted_only()) {
                return reason;
            }
            notified.await;
        }
    }
}

impl StopReason {
    fn of(code: u8) -> Option<StopReason> {
        match code {
            0 => None,
            1 => Some(StopReason::Shutdown),
            2 => Some(StopReason::Killed),
            3 => Some(StopReason::Answered),
            4 => Some(StopReason::NoAnswer),
            5 => Some(StopReason::TooSlow),
            6 => Some(StopReason::TakesNothing),
            7 => Some(StopReason::OutOfShare),
            _ => Some(StopReason::Memory),
        }
    }

    /// Returns one stable word for logs, metrics and programs.
    pub fn code(self) -> &'static str {
        match self {
            StopReason::Shutdown => "shutdown",
            StopReason::Killed => "killed",
            StopReason::Answered => "answered",
            StopReason::NoAnswer => "bad_answer",
            StopReason::TooSlow => "write_rate",
            StopReason::TakesNothing => "write_idle",
            StopReason::OutOfShare => "slow_client",
            StopReason::Memory => "client_memory",
        }
    }

    /// Reports whether the reason only says why the job is about to be dropped.
    fn is_noted_only(self) -> bool {
        matches!(self, StopReason::Answered | StopReason::NoAnswer)
    }

    /// Reports whether the job's client is to blame.
    pub fn is_of_the_client(self) -> bool {
        match self {
            StopReason::TooSlow | StopReason::TakesNothing | StopReason::OutOfShare | StopReason::Memory => {
                true
            }
            StopReason::Shutdown | StopReason::Killed | StopReason::Answered | StopReason::NoAnswer => false,
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopReason::Shutdown => "the daemon is shutting down",
            StopReason::Killed => "an operator ended the job",
            StopReason::Answered => "the rest of its answer is not needed",
            StopReason::NoAnswer => "its answer is not valid",
            StopReason::TooSlow => "the client takes less of the answer than it has to (http.min_rate)",
            StopReason::TakesNothing => {
                "the client took nothing of the answer for too long (http.write_idle)"
            }
            StopReason::OutOfShare => {
                "the client kept it waiting while others wanted its slot (limits.concurrency_per_peer)"
            }
            StopReason::Memory => "the client's connection held too much memory (http.client_memory)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_stays_and_late_waiters_see_it() {
        let stop = Stop::new();
        let early = tokio::spawn({
            let stop = stop.clone();
            async move { stop.raised().await }
        });

        stop.raise(StopReason::Killed);
        stop.raise(StopReason::Shutdown);

        assert_eq!(early.await.ok(), Some(StopReason::Killed));
        assert_eq!(stop.raised().await, StopReason::Killed);
    }

    #[tokio::test]
    async fn a_reason_that_ends_the_job_replaces_a_noted_one_and_not_the_other_way_round() {
        for noted in [StopReason::Answered, StopReason::NoAnswer] {
            let stop = Stop::new();
            stop.raise(noted);
            stop.raise(StopReason::Killed);
            stop.raise(noted);

            assert_eq!(stop.reason(), Some(StopReason::Killed));
            assert_eq!(stop.raised().await, StopReason::Killed);
        }
    }
}
