//! Counts with their unit, for people: `2 handlers`.

use std::fmt;

/// A number and the noun that it counts. The noun's plural ends in `s`: `1 handler`, `2 handlers`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CountedNoun(u64, &'static str);

/// Makes a count; `one` is the singular.
pub fn counted(number: impl TryInto<u64>, one: &'static str) -> CountedNoun {
    CountedNoun(number.try_into().unwrap_or(u64::MAX), one)
}

impl fmt::Display for CountedNoun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CountedNoun(number, one) = self;
        write!(f, "{number} {one}{}", if *number == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_is_no_plural() {
        assert_eq!([0usize, 1, 2].map(|n| counted(n, "job").to_string()), ["0 jobs", "1 job", "2 jobs"]);
    }
}
