//! Logs denied calls, with the config line that would allow them, at a limited rate.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::job::{JobId, Name};

/// Lines that may be logged at once. After that, one line may be logged every [`REFILL`].
const BURST: u32 = 10;
const REFILL: Duration = Duration::from_secs(1);

/// Logs the denied calls of one handler.
pub(super) struct Denials {
    name: Name,
    allowance: Mutex<DenialRate>,
}

struct DenialRate {
    lines: u32,
    refilled: Instant,
    /// Denials since the last line that were not logged.
    left_out: u64,
}

impl Denials {
    pub(super) fn new(name: Name) -> Denials {
        Denials { name, allowance: Mutex::new(DenialRate::new(Instant::now())) }
    }

    /// Logs that an origin is not on the list.
    pub(super) fn origin(&self, job: JobId, origin: &impl fmt::Display) {
        self.say(job, format_args!("{origin} is denied: {}.allow: add \"{origin}\"", self.key()));
    }

    /// Logs that an address needs a grant.
    pub(super) fn address(
        &self,
        job: JobId,
        origin: &impl fmt::Display,
        what: &str,
        block: &impl fmt::Display,
    ) {
        let key = self.key();
        self.say(job, format_args!("{origin} is denied: {what}: {key}.allow_addresses: add \"{block}\""));
    }

    /// Logs any other reason why a call was not made.
    pub(super) fn say(&self, job: JobId, what: fmt::Arguments<'_>) {
        let admitted = self.allowance.lock().unwrap_or_else(PoisonError::into_inner).admits(Instant::now());
        match admitted {
            None => {}
            Some(0) => warn!("[{job}] {}: a call to {what}", self.name),
            Some(more) => warn!("[{job}] {}: a call to {what} ({more} more were not logged)", self.name),
        }
    }

    /// Returns the TOML key of the handler's table, quoted where TOML requires it.
    fn key(&self) -> String {
        match self.name.as_str() {
            name if name.contains('.') => format!("handler.{name:?}"),
            name => format!("handler.{name}"),
        }
    }
}

impl DenialRate {
    fn new(now: Instant) -> DenialRate {
        DenialRate { lines: BURST, refilled: now, left_out: 0 }
    }

    /// Takes a line from the allowance and returns how many were left out before it. Returns `None`
    /// if this line is to be left out as well.
    fn admits(&mut self, now: Instant) -> Option<u64> {
        let fresh = now.saturating_duration_since(self.refilled).as_secs() / REFILL.as_secs();
        if fresh > 0 {
            let fresh = u32::try_from(fresh).unwrap_or(u32::MAX);
            self.lines = self.lines.saturating_add(fresh).min(BURST);
            self.refilled = now;
        }
        match self.lines.checked_sub(1) {
            Some(left) => {
                self.lines = left;
                Some(std::mem::take(&mut self.left_out))
            }
            None => {
                self.left_out += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_denials_is_a_few_lines_and_a_number() {
        let start = Instant::now();
        let mut allowance = DenialRate::new(start);

        let logged = (0..1000).filter(|_| allowance.admits(start).is_some()).count();

        assert_eq!(logged, 10);
        assert_eq!(allowance.admits(start + REFILL), Some(990));
        assert_eq!(allowance.admits(start + REFILL), None);
    }

    #[test]
    fn a_name_with_a_dot_is_quoted() {
        let key = |name: &str| Denials::new(name.parse().unwrap()).key();
        assert_eq!((key("fetch"), key("a.b")), ("handler.fetch".to_owned(), "handler.\"a.b\"".to_owned()));
    }
}
