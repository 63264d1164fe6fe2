//! Which request body a connection has yet to read to its end.

use std::sync::atomic::{AtomicU64, Ordering};

/// The request body that is not fully sent or not fully read.
#[derive(Default)]
pub(in crate::http) struct BodyDebt {
    /// Its number; `NOBODY` if there is none.
    owed: AtomicU64,
    /// How many request bodies there were.
    bodies: AtomicU64,
}

/// The number that stands for no body.
const NOBODY: u64 = 0;

impl BodyDebt {
    /// Notes whether a request has a body to be read, and returns the number of that body.
    pub(super) fn start(&self, is_there: bool) -> u64 {
        let number = if is_there { self.bodies.fetch_add(1, Ordering::Relaxed) + 1 } else { NOBODY };
        self.owed.store(number, Ordering::Relaxed);
        number
    }

    /// Notes that a body was read to its end. The next request, with a body of its own, may have come before.
    pub(super) fn consume(&self, number: u64) {
        let _another = self.owed.compare_exchange(number, NOBODY, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Reports whether part of the request body is still unread.
    pub(in crate::http) fn is_owed(&self) -> bool {
        self.owed.load(Ordering::Relaxed) != NOBODY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_body_is_owed_until_it_is_read_whatever_becomes_of_earlier_ones() {
        // Whether each request has a body; the indices of the bodies that are read; whether a body is owed.
        for (requests, read, is_owed) in [
            (&[false][..], &[][..], false),
            (&[true], &[], true),
            (&[true], &[0], false),
            (&[true, true], &[0], true),
            (&[true, true], &[0, 1], false),
            (&[true, true], &[1], false),
            (&[true, false], &[], false),
            (&[true, false, true], &[0, 1], true),
        ] {
            let debt = BodyDebt::default();
            let numbers: Vec<u64> = requests.iter().map(|is_there| debt.start(*is_there)).collect();

            read.iter().for_each(|at: &usize| debt.consume(numbers[*at]));

            assert_eq!(debt.is_owed(), is_owed, "{requests:?} {read:?}");
        }
    }
}
