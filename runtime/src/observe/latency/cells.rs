//! The cells in which durations are counted: each lies in one classic and in one native bucket.
//!
//! The bounds of cells are the bounds of both kinds of buckets. One counter therefore serves both kinds, and the count of
//! a bucket is the sum over its cells.

use std::f64::consts::SQRT_2;

/// The upper bounds of the classic buckets, in microseconds. A last bucket has no bound.
///
/// The buckets of most client libraries begin at 5 ms. Nearly all requests here would fall into that first one.
pub const BOUNDS: [u64; 19] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// The number of classic buckets, including the bucket without a bound.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// The schema of the native buckets: 2^2 of them for each doubling of the duration. A bound is 1.19 times the bound before
/// it, and less than 9 % from the middle of its bucket.
///
/// Schema 3 would halve that, and a histogram would need 1.7 KiB instead of 1 KiB.
pub const SCHEMA: i32 = 2;

/// The native buckets of one doubling.
const PER_DOUBLING: usize = 1 << SCHEMA;

/// The zero bucket ends at 2^-18 s, which is 3.8 us.
const SHORTEST: i32 = -18;

/// The last native bucket ends at 2^8 s, which is 256 s.
const LONGEST: i32 = 8;

/// The number of native buckets, without the zero bucket.
pub const NATIVE_BUCKETS: usize = (LONGEST - SHORTEST) as usize * PER_DOUBLING;

/// The index of the first native bucket after the zero bucket. A bucket with index `i` ends at 2^(`i` / 4) s.
pub const FIRST_NATIVE: i32 = SHORTEST * PER_DOUBLING as i32 + 1;

/// The end of the zero bucket, in seconds.
pub const ZERO_THRESHOLD: f64 = 1.0 / (1_u64 << -SHORTEST) as f64;

/// The first bounds of a doubling: 2^(0/4), 2^(1/4), 2^(2/4), 2^(3/4).
const STEPS: [f64; PER_DOUBLING] = [1.0, 1.189_207_115_002_721, SQRT_2, 1.681_792_830_507_429];

/// The upper bounds of the zero bucket and of the native buckets, in nanoseconds. A bound is rounded down: a duration is
/// a whole number of nanoseconds, so it is on the same side of both.
const NATIVE_BOUNDS: [u64; NATIVE_BUCKETS + 1] = {
    let mut bounds = [0; NATIVE_BUCKETS + 1];
    let mut position = 0;
    while position < bounds.len() {
        let doubled = (1_u64 << (position / PER_DOUBLING)) as f64;
        bounds[position] = (1e9 * ZERO_THRESHOLD * doubled * STEPS[position % PER_DOUBLING]) as u64;
        position += 1;
    }
    bounds
};

/// The number of cells. The last one has no bound. Three bounds are both classic and native: 0.25, 0.5 and 1 s.
pub(super) const CELLS: usize = BOUNDS.len() + NATIVE_BOUNDS.len() - 3 + 1;

/// The upper bounds of the cells, in nanoseconds.
const CELL_BOUNDS: [u64; CELLS - 1] = {
    let mut bounds = [0; CELLS - 1];
    let (mut position, mut classic, mut native) = (0, 0, 0);
    while position < bounds.len() {
        let next_classic = if classic < BOUNDS.len() { BOUNDS[classic] * 1_000 } else { u64::MAX };
        let next_native = if native < NATIVE_BOUNDS.len() { NATIVE_BOUNDS[native] } else { u64::MAX };
        let bound = if next_classic < next_native { next_classic } else { next_native };
        classic += (next_classic == bound) as usize;
        native += (next_native == bound) as usize;
        bounds[position] = bound;
        position += 1;
    }
    assert!(classic == BOUNDS.len() && native == NATIVE_BOUNDS.len(), "each bound ends one cell");
    bounds
};

/// The most cells whose bounds have the same number of binary digits.
const CELLS_OF_DIGITS: usize = 5;

/// The cells whose bounds have as many binary digits as a duration.
struct DigitCells {
    /// The first of them: the bounds of all cells before it have fewer digits.
    first: usize,
    /// Their bounds. The rest is filled with a bound that no duration exceeds.
    bounds: [u64; CELLS_OF_DIGITS],
}

/// The cells by the number of the binary digits of their bounds.
static BY_DIGITS: [DigitCells; u64::BITS as usize + 1] = {
    let mut all =
        [const { DigitCells { first: 0, bounds: [u64::MAX; CELLS_OF_DIGITS] } }; u64::BITS as usize + 1];
    let (mut digits, mut cell) = (0, 0);
    while digits < all.len() {
        all[digits].first = cell;
        while cell < CELL_BOUNDS.len() && binary_digits(CELL_BOUNDS[cell]) == digits {
            all[digits].bounds[cell - all[digits].first] = CELL_BOUNDS[cell];
            cell += 1;
        }
        digits += 1;
    }
    all
};

/// Returns the cell of a duration. Compares it with a fixed number of bounds, which takes no branch.
#[inline]
pub(super) fn of(nanos: u64) -> usize {
    let DigitCells { first, bounds } = &BY_DIGITS[binary_digits(nanos)];
    first + bounds.iter().filter(|bound| **bound < nanos).count()
}

#[inline]
const fn binary_digits(number: u64) -> usize {
    (u64::BITS - number.leading_zeros()) as usize
}

/// Returns the classic bucket of a cell.
pub(super) fn classic(cell: usize) -> usize {
    BOUNDS.partition_point(|micros| *micros * 1_000 < bound(cell))
}

/// Returns the native bucket of a cell. The zero bucket is number 0. The last bucket takes longer durations as well: no
/// native bucket is without a bound.
pub(super) fn native(cell: usize) -> usize {
    NATIVE_BOUNDS.partition_point(|nanos| *nanos < bound(cell)).min(NATIVE_BUCKETS)
}

fn bound(cell: usize) -> u64 {
    CELL_BOUNDS.get(cell).copied().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(nanos: u64) -> (usize, usize) {
        (classic(of(nanos)), native(of(nanos)))
    }

    #[test]
    fn a_duration_at_a_classic_bound_is_in_its_bucket_and_a_longer_one_in_the_next() {
        for (position, bound) in BOUNDS.into_iter().enumerate() {
            let nanos = bound * 1_000;

            assert_eq!((places(nanos).0, places(nanos + 1).0), (position, position + 1), "{bound} us");
        }
    }

    #[test]
    fn a_duration_at_a_native_bound_is_in_its_bucket_and_a_longer_one_in_the_next() {
        for number in 0..NATIVE_BUCKETS {
            // From the definition of the schema: a bound is 2^(index * 2^-schema).
            let index = FIRST_NATIVE - 1 + i32::try_from(number).unwrap();
            let nanos = (1e9 * (f64::from(index) * f64::from(-SCHEMA).exp2()).exp2()).floor() as u64;

            assert_eq!((places(nanos).1, places(nanos + 1).1), (number, number + 1), "{nanos} ns");
        }
    }

    #[test]
    fn nothing_is_in_the_zero_bucket_and_the_longest_duration_in_the_last_ones() {
        assert_eq!(places(0), (0, 0));
        assert_eq!(places(256_000_000_000), (BUCKETS - 1, NATIVE_BUCKETS));
        assert_eq!(places(256_000_000_001), (BUCKETS - 1, NATIVE_BUCKETS));
        assert_eq!(places(u64::MAX), (BUCKETS - 1, NATIVE_BUCKETS));
        assert_eq!((of(0), of(u64::MAX)), (0, CELLS - 1));
        let powers = (0..u64::BITS).map(|exponent| 1_u64 << exponent);
        for nanos in powers.flat_map(|power| [power - 1, power, power + 1]) {
            assert_eq!(of(nanos), CELL_BOUNDS.partition_point(|bound| *bound < nanos), "{nanos} ns");
        }
    }

    #[test]
    fn no_cell_lies_in_two_buckets() {
        for cell in 0..CELLS - 1 {
            let first = if cell == 0 { 0 } else { bound(cell - 1) + 1 };

            assert_eq!((of(first), of(bound(cell))), (cell, cell));
            assert_eq!(places(first), places(bound(cell)));
        }
    }

    #[test]
    fn the_zero_bucket_ends_where_the_first_bucket_begins() {
        let begins = f64::from(FIRST_NATIVE - 1) / PER_DOUBLING as f64;

        assert!((ZERO_THRESHOLD - begins.exp2()).abs() < 1e-18, "{ZERO_THRESHOLD}");
        assert_eq!(NATIVE_BOUNDS[0], 3_814);
    }
}
