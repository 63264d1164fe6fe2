//! Versions of an API, and the range that a group of routes supports.

use std::cmp::Ordering;
use std::fmt;

/// The versions that a group of routes supports, and the beginning of the segment that names one.
///
/// A request names its version in the first segment, as in `/v1.41/info`. One without is for the newest.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct VersionRange {
    /// The text before the version: `/v`.
    pub before: String,
    /// The oldest version and the newest. `None` supports all.
    pub supported: Option<(String, String)>,
}

impl VersionRange {
    /// Parses a range such as `1.24..1.41`, both ends included.
    ///
    /// # Errors
    /// The text is no range; the message says what to write.
    pub fn read(before: &str, text: &str) -> Result<VersionRange, String> {
        let wanted = || format!("wanted a range of versions such as \"1.24..1.41\", found {text:?}");
        let (oldest, newest) = text.split_once("..").ok_or_else(wanted)?;
        if !is_version(oldest) || !is_version(newest) {
            return Err(wanted());
        }
        if compare(oldest, newest) == Ordering::Greater {
            return Err(format!("the range {text:?} is empty: write the oldest version first"));
        }
        let supported = Some((oldest.to_owned(), newest.to_owned()));
        Ok(VersionRange { before: before.to_owned(), supported })
    }

    /// Makes the range of all versions.
    pub fn any(before: &str) -> VersionRange {
        VersionRange { before: before.to_owned(), supported: None }
    }

    /// Reports whether a path begins with a version.
    pub fn is_named_in(&self, path: &str) -> bool {
        split(&self.before, path).is_some()
    }

    /// Returns the newest version. `None` if the range has no end.
    pub(super) fn newest(&self) -> Option<&str> {
        self.supported.as_ref().map(|(_, newest)| newest.as_str())
    }

    /// Checks a version.
    ///
    /// # Errors
    /// It is outside the range. The message is that of Docker's API.
    pub(super) fn check(&self, version: &str) -> Result<(), String> {
        let Some((oldest, newest)) = &self.supported else { return Ok(()) };
        if compare(version, oldest) == Ordering::Less {
            return Err(format!(
                "client version {version} is too old. Minimum supported API version is {oldest}, please upgrade your \
                 client to a newer version"
            ));
        }
        if compare(version, newest) == Ordering::Greater {
            return Err(format!(
                "client version {version} is too new. Maximum supported API version is {newest}"
            ));
        }
        Ok(())
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.supported {
            Some((oldest, newest)) => write!(f, "{oldest}..{newest}"),
            None => f.write_str("all"),
        }
    }
}

/// Splits `/v1.14/info` into `1.14` and `/info`; `before` is `/v`. Returns `None` if the path does not begin with a
/// version.
pub(super) fn split<'p>(before: &str, path: &'p str) -> Option<(&'p str, &'p str)> {
    let rest = path.strip_prefix(before)?;
    let (version, rest) = rest.split_at(rest.find('/')?);
    is_version(version).then_some((version, rest))
}

/// Reports whether a text is numbers with dots between them.
fn is_version(text: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split('.').all(number)
}

/// Compares two versions by their numbers. A missing number counts as 0.
fn compare(one: &str, other: &str) -> Ordering {
    let (mut ones, mut others) = (one.split('.'), other.split('.'));
    loop {
        let (left, right) = (ones.next(), others.next());
        if left.is_none() && right.is_none() {
            return Ordering::Equal;
        }
        let digits = |part: Option<&str>| part.unwrap_or_default().trim_start_matches('0').to_owned();
        let (left, right) = (digits(left), digits(right));
        // Numbers without leading zeros compare by length, then by digits, whatever their size.
        match left.len().cmp(&right.len()).then_with(|| left.cmp(&right)) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_their_numbers() {
        assert_eq!(compare("1.9", "1.24"), Ordering::Less);
        assert_eq!(compare("1.24", "1.24.0"), Ordering::Equal);
        assert_eq!(compare("2", "1.99"), Ordering::Greater);
        assert_eq!(compare("1.024", "1.24"), Ordering::Equal);
        assert_eq!(compare("99999999999999999999999", "1"), Ordering::Greater);
    }

    #[test]
    fn a_version_outside_the_range_is_told_the_limit() {
        let range = VersionRange::read("/v", "1.24..1.41").unwrap();

        assert_eq!(
            (range.check("1.24"), range.check("1.41"), range.check("1.41.0")),
            (Ok(()), Ok(()), Ok(()))
        );
        assert!(range.check("1.23").unwrap_err().contains("Minimum supported API version is 1.24"));
        assert!(range.check("1.42").unwrap_err().contains("Maximum supported API version is 1.41"));
        assert_eq!(split("/v", "/v1.30/info"), Some(("1.30", "/info")));
        assert_eq!(["/v/info", "/v1.30", "/vx/info"].map(|path| split("/v", path)), [None; 3]);
        let any = VersionRange::any("/v");
        assert_eq!((any.check("0"), any.check("99.1"), any.newest()), (Ok(()), Ok(()), None));
        for wrong in ["1.24", "..1", "1..", "2..1", "a..b", "1.24...1.41"] {
            assert!(VersionRange::read("/v", wrong).is_err(), "{wrong}");
        }
    }
}
