//! When a certificate is asked for again after a failure.

use std::time::Duration;

use instant_acme::Error;
use rustix::rand::{GetRandomFlags, getrandom};

/// The first wait after a failure on the way to the server.
const UNREACHED: Duration = Duration::from_secs(5);

/// The longest wait after failures on the way to the server.
const UNREACHED_MOST: Duration = Duration::from_secs(10 * 60);

/// The first wait after a refusal by the server. Let's Encrypt allows five failed validations of a host in an hour; the
/// fifth attempt after this one comes an hour after the first.
const REFUSED: Duration = Duration::from_secs(2 * 60);

/// The longest wait after refusals by the server.
const REFUSED_MOST: Duration = Duration::from_secs(6 * 60 * 60);

/// The longest `Retry-After` that is respected: a limit per week is the longest that Let's Encrypt has.
const ASKED_MOST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The part that failed in an attempt: the way to the server, or the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailedAt {
    /// The server could not be asked, or the daemon itself failed.
    TheWay,
    /// The server refused.
    TheServer,
}

impl FailedAt {
    /// Classifies an error of an attempt.
    pub(super) fn of(error: &anyhow::Error) -> FailedAt {
        match error.downcast_ref::<Error>() {
            Some(Error::Other(_) | Error::Http(_) | Error::InvalidUri(_)) => FailedAt::TheWay,
            Some(_) => FailedAt::TheServer,
            None if error.is::<std::io::Error>() => FailedAt::TheWay,
            None => FailedAt::TheServer,
        }
    }

    /// Returns how long to wait after so many failures in a row: twice as long each time, up to a bound, and not shorter
    /// than the server asked for. Up to a tenth is random, so that many daemons do not ask at once.
    pub(super) fn wait(self, failures: u32, asked: Option<Duration>) -> Duration {
        let (first, max) = match self {
            FailedAt::TheWay => (UNREACHED, UNREACHED_MOST),
            FailedAt::TheServer => (REFUSED, REFUSED_MOST),
        };
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = first.saturating_mul(doubled).min(max);
        let wait = wait.max(asked.unwrap_or_default().min(ASKED_MOST));
        wait + wait / 10 * u32::from(random()) / u32::from(u8::MAX)
    }
}

/// Draws a random byte; 0 if the system has none.
fn random() -> u8 {
    let mut drawn = [0];
    // getrandom(2): requests of up to 256 bytes are not cut short.
    let _drawn = getrandom(&mut drawn[..], GetRandomFlags::empty());
    drawn[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a wait is this long, or up to a tenth longer.
    fn about(wait: Duration, seconds: u64) -> bool {
        let least = Duration::from_secs(seconds);
        (least..=least + least / 10).contains(&wait)
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        let waits = [1, 2, 3, 7, 8, 40, u32::MAX].map(|failures| FailedAt::TheWay.wait(failures, None));

        for (wait, seconds) in waits.into_iter().zip([5, 10, 20, 320, 600, 600, 600]) {
            assert!(about(wait, seconds), "{wait:?}");
        }
        assert!(about(FailedAt::TheServer.wait(1, None), 120));
        assert!(about(FailedAt::TheServer.wait(100, None), 6 * 60 * 60));
    }

    #[test]
    fn a_wait_is_as_long_as_the_server_asks_and_no_longer_than_a_week() {
        let asked = |seconds| FailedAt::TheServer.wait(1, Some(Duration::from_secs(seconds)));

        assert!(about(asked(1), 120));
        assert!(about(asked(86_400), 86_400));
        assert!(about(asked(u64::MAX), 7 * 86_400));
    }

    #[test]
    fn a_refusal_is_told_from_a_server_that_is_down() {
        let down = anyhow::Error::new(Error::Other("cannot connect".into()));

        assert_eq!(FailedAt::of(&down.context("the directory")), FailedAt::TheWay);
        assert_eq!(FailedAt::of(&anyhow::Error::new(Error::Timeout(None))), FailedAt::TheServer);
        assert_eq!(FailedAt::of(&anyhow::anyhow!("the order is invalid")), FailedAt::TheServer);
    }
}
