//! Maps the part of the path after the route to a path below the mount.

use std::path::{Path, PathBuf};

/// A path below the mount that leads neither out of it nor to a hidden file.
#[derive(Debug, PartialEq)]
pub(crate) struct Wanted<'a> {
    segments: Vec<&'a str>,
    /// Whether the path ended in a slash or was empty: the mount itself is a directory.
    pub(crate) directory: bool,
}

impl<'a> Wanted<'a> {
    /// Parses a path that is already percent-decoded. Returns `None` for paths that are never served. These are `.`
    /// and `..`, which the daemon has resolved or refused before, and empty segments. Characters that another system
    /// may take for a separator or an end are refused as well, and so are hidden files such as `.git` and `.env`,
    /// except `.well-known` (RFC 8615).
    pub(crate) fn parse(rest: &'a str) -> Option<Wanted<'a>> {
        if rest.is_empty() {
            return Some(Wanted { segments: Vec::new(), directory: true });
        }
        let (names, directory) = match rest.strip_suffix('/') {
            Some(names) => (names, true),
            None => (rest, false),
        };
        let segments: Vec<&str> = names.split('/').collect();
        let served = |segment: &&str| {
            !segment.is_empty()
                && (!segment.starts_with('.') || *segment == ".well-known")
                && !segment.contains(|c: char| c == '\\' || c.is_control())
        };
        segments.iter().all(served).then_some(Wanted { segments, directory })
    }

    /// Returns whether this is the mount itself.
    pub(crate) fn is_mount(&self) -> bool {
        self.segments.is_empty()
    }

    /// Returns the path below `root`.
    pub(crate) fn under(&self, root: &Path) -> PathBuf {
        let mut path = root.to_path_buf();
        path.extend(&self.segments);
        path
    }
}

/// Percent-encodes a path for a `Location`. The result starts with exactly one slash: two slashes would name another
/// host.
pub(crate) fn encode(path: &str) -> String {
    let mut encoded = String::from("/");
    for byte in path.trim_start_matches('/').bytes() {
        // RFC 3986 §3.3: only the unreserved characters and the slash stay as they are.
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_the_mount() {
        let under =
            |rest| Wanted::parse(rest).map(|wanted| (wanted.under(Path::new("/data")), wanted.directory));

        assert_eq!(under(""), Some(("/data".into(), true)));
        assert_eq!(under("a/b c.txt"), Some(("/data/a/b c.txt".into(), false)));
        assert_eq!(under("a/"), Some(("/data/a".into(), true)));
        assert_eq!(under(".well-known/x"), Some(("/data/.well-known/x".into(), false)));
        for never in [
            "..",
            "../x",
            "a/../b",
            "a/..",
            ".",
            "/etc/passwd",
            "a//b",
            "//",
            "/",
            "a\\..\\b",
            "a\0b",
            ".git/x",
        ] {
            assert_eq!(under(never), None, "{never:?} must not be served");
        }
    }

    #[test]
    fn a_location_is_encoded_and_never_names_another_host() {
        assert_eq!(encode("/files/a b:é?"), "/files/a%20b%3A%C3%A9%3F");
        assert_eq!(encode("//evil.example/x"), "/evil.example/x");
    }
}
