//! The name of one state of a note: a number that grows and a token that is never reused.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::str::FromStr;

/// `NUMBER-TOKEN`, ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    /// 1 for the first state, and one more for each later state.
    pub(crate) number: u64,
    token: u64,
}

impl Version {
    /// Makes the name of the first state of a note.
    pub(crate) fn first() -> Version {
        Version { number: 1, token: token() }
    }

    /// Makes a name for a state after this one. No two calls return the same name.
    pub(crate) fn next(self) -> Version {
        Version { number: self.number + 1, token: token() }
    }

    /// Makes a name for the end of a note, which is later than all of its states.
    pub(crate) fn last() -> Version {
        Version { number: u64::MAX, token: u64::MAX }
    }

    /// Returns the entity tag.
    pub(crate) fn etag(self) -> String {
        format!("\"{self}\"")
    }

    /// Returns whether a list of entity tags (RFC 9110 §13.1) contains this state; `*` matches any.
    pub(crate) fn is_named_by(self, tags: &str) -> bool {
        let ours = self.etag();
        tags.split(',').map(str::trim).any(|tag| tag == "*" || tag == ours)
    }
}

/// Returns 64 random bits. `RandomState` takes its keys from the system, through `random_get` in a guest, and saves
/// a dependency. The bits need not be unpredictable.
pub(crate) fn token() -> u64 {
    RandomState::new().build_hasher().finish()
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.number, self.token)
    }
}

impl FromStr for Version {
    type Err = ();

    fn from_str(text: &str) -> Result<Version, ()> {
        let (number, token) = text.split_once('-').ok_or(())?;
        let token = u64::from_str_radix(token, 16).map_err(|_| ())?;
        let version = Version { number: number.parse().map_err(|_| ())?, token };
        // Only the canonical form is accepted: `+1-5` is not a file of ours.
        (version.to_string() == text).then_some(version).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_it_was_written_and_nothing_else_is() {
        let version = Version { number: 12, token: 0xabc };

        assert_eq!(version.to_string().parse(), Ok(version));
        for bad in
            ["", "12", "12-abc", "+12-0000000000000abc", "12-0000000000000ABC", "12-0000000000000abc.json"]
        {
            assert_eq!(bad.parse::<Version>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn no_token_comes_twice() {
        let tokens: std::collections::HashSet<u64> = (0..10_000).map(|_| token()).collect();

        assert_eq!(tokens.len(), 10_000);
    }

    #[test]
    fn a_list_of_tags_names_a_version_exactly() {
        let version = Version { number: 1, token: 1 };

        assert!(version.is_named_by("\"x\", \"1-0000000000000001\""));
        assert!(version.is_named_by("*"));
        assert!(!version.is_named_by("W/\"1-0000000000000001\""));
        assert!(!version.is_named_by("1-0000000000000001"));
    }
}
