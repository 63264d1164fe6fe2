//! The backoff after a failing `accept`.

use std::io;
use std::time::{Duration, Instant};

/// Failures that are retried at once before the next failure starts a wait.
const AT_ONCE: u32 = 16;
/// The first wait for a scarce resource; each later wait is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// An episode that begins within this time of the last reported one is not logged: a process at its descriptor limit
/// would otherwise fill the log.
const LOG_QUIET: Duration = Duration::from_secs(10);

/// Counts failures and decides the reaction to each. Time is an argument, so it never waits itself.
#[derive(Debug, Default)]
pub(super) struct AcceptBackoff {
    spins: u32,
    episode: Option<Episode>,
    reported: Option<Instant>,
}

/// A run of failures caused by a missing resource.
#[derive(Debug)]
struct Episode {
    began: Instant,
    retries: u32,
    wait: Duration,
    until: Instant,
    silent: bool,
}

/// The next step after a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AfterFailure {
    /// Accept again: the failure concerned one connection only.
    AtOnce,
    /// Wait until [`AcceptBackoff::until`]. The first wait of an episode is logged.
    Wait(LogDecision),
}

/// Whether to log a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LogDecision {
    /// An episode begins.
    Log,
    /// The episode is already logged, or a similar one was logged just now.
    Silent,
}

/// An episode that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recovery {
    pub(super) lasted: Duration,
    pub(super) retries: u32,
}

impl AcceptBackoff {
    /// Records a failure and returns the reaction to it.
    pub(super) fn failed(&mut self, error: &io::Error, now: Instant) -> AfterFailure {
        if concerns_one_connection(error) && self.spins < AT_ONCE {
            self.spins += 1;
            return AfterFailure::AtOnce;
        }
        self.spins = 0;
        if let Some(episode) = &mut self.episode {
            episode.retries = episode.retries.saturating_add(1);
            episode.wait = (episode.wait * 2).min(LONGEST_WAIT);
            episode.until = now + episode.wait;
            return AfterFailure::Wait(LogDecision::Silent);
        }
        let silent = self.reported.is_some_and(|last| now.saturating_duration_since(last) < LOG_QUIET);
        self.episode =
            Some(Episode { began: now, retries: 1, wait: FIRST_WAIT, until: now + FIRST_WAIT, silent });
        AfterFailure::Wait(if silent { LogDecision::Silent } else { LogDecision::Log })
    }

    /// Records a success. Returns the episode that it ended, if the beginning of that episode was logged.
    pub(super) fn succeeded(&mut self, now: Instant) -> Option<Recovery> {
        self.spins = 0;
        let episode = self.episode.take().filter(|episode| !episode.silent)?;
        self.reported = Some(now);
        Some(Recovery { lasted: now.saturating_duration_since(episode.began), retries: episode.retries })
    }

    /// When the next attempt is due; `None` means at once.
    pub(super) fn until(&self) -> Option<Instant> {
        self.episode.as_ref().map(|episode| episode.until)
    }
}

/// Returns whether a failure concerns one connection, not the process or the machine.
///
/// Source: accept(2), "Error handling". Linux passes on pending network errors of the new socket; they are to be
/// treated like EAGAIN. EPERM means that a firewall forbids the connection.
fn concerns_one_connection(error: &io::Error) -> bool {
    use rustix::io::Errno;
    Errno::from_io_error(error).is_some_and(|errno| {
        matches!(
            errno,
            Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::PROTO
                | Errno::PERM
                | Errno::INTR
                | Errno::TIMEDOUT
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NONET
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    fn emfile() -> io::Error {
        Errno::MFILE.into()
    }

    #[test]
    fn one_connection_s_failure_is_retried_at_once_but_not_for_ever() {
        let (mut patience, now) = (AcceptBackoff::default(), Instant::now());
        let aborted = Errno::CONNABORTED.into();

        for _ in 0..AT_ONCE {
            assert_eq!(patience.failed(&aborted, now), AfterFailure::AtOnce);
        }

        assert_eq!(patience.failed(&aborted, now), AfterFailure::Wait(LogDecision::Log));
    }

    #[test]
    fn a_success_forgets_the_spinning() {
        let (mut patience, now) = (AcceptBackoff::default(), Instant::now());
        let aborted = Errno::PROTO.into();

        for _ in 0..AT_ONCE * 3 {
            assert_eq!(patience.failed(&aborted, now), AfterFailure::AtOnce);
            assert_eq!(patience.succeeded(now), None);
        }
    }

    #[test]
    fn scarcity_is_told_once_and_waits_from_50_ms_to_1_s() {
        let (mut patience, start) = (AcceptBackoff::default(), Instant::now());

        let told: Vec<_> =
            (0..8).map(|_| (patience.failed(&emfile(), start), patience.until().unwrap() - start)).collect();

        let waits: Vec<_> = told.iter().map(|(_, wait)| wait.as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000, 1000]);
        assert_eq!(told.iter().filter(|(next, _)| *next == AfterFailure::Wait(LogDecision::Log)).count(), 1);
    }

    #[test]
    fn recovery_says_how_long_and_how_often() {
        let (mut patience, start) = (AcceptBackoff::default(), Instant::now());
        patience.failed(&emfile(), start);
        patience.failed(&emfile(), start);

        let recovery = patience.succeeded(start + Duration::from_secs(3));

        assert_eq!(recovery, Some(Recovery { lasted: Duration::from_secs(3), retries: 2 }));
        assert_eq!(patience.until(), None);
    }

    #[test]
    fn scarcity_that_flickers_does_not_fill_the_log() {
        let (mut patience, start) = (AcceptBackoff::default(), Instant::now());
        patience.failed(&emfile(), start);
        patience.succeeded(start);

        assert_eq!(
            patience.failed(&emfile(), start + Duration::from_secs(1)),
            AfterFailure::Wait(LogDecision::Silent)
        );
        assert_eq!(patience.succeeded(start + Duration::from_secs(2)), None);
        assert_eq!(patience.failed(&emfile(), start + LOG_QUIET), AfterFailure::Wait(LogDecision::Log));
    }
}
