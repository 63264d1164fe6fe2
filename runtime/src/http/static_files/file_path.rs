//! The path of a file below its directory, from the path of a request.

use crate::files::is_odd;

/// A relative path that names no hidden file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FilePath<'a> {
    /// The path without a final slash. Empty for the directory itself.
    pub(super) path: &'a str,
    /// Whether the request names a directory: it ends with a slash, or is empty.
    pub(super) is_dir: bool,
}

impl<'a> FilePath<'a> {
    /// Checks the decoded tail of a request path. Returns `None` for a path that is never served. It has an empty segment,
    /// `.` or `..`, a hidden file such as `.git` or `.env`, or a character that another system takes for a separator or
    /// an end. `.well-known` is served (RFC 8615).
    pub(super) fn read(tail: &'a str) -> Option<FilePath<'a>> {
        if tail.is_empty() {
            return Some(FilePath { path: "", is_dir: true });
        }
        let (path, is_dir) = match tail.strip_suffix('/') {
            Some(path) => (path, true),
            None => (tail, false),
        };
        let is_served = |segment: &[u8]| match segment {
            [] => false,
            [b'.', ..] => segment == b".well-known",
            _ => true,
        };
        let mut segments = path.as_bytes().split(|byte| *byte == b'/');
        (segments.all(is_served) && !path.contains(is_odd)).then_some(FilePath { path, is_dir })
    }

    /// Returns the last segment.
    pub(super) fn name(self) -> &'a str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Returns the path of a file in this directory.
    pub(super) fn with(self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_relative_and_names_nothing_hidden() {
        let read = |tail| FilePath::read(tail).map(|path| (path.path, path.is_dir));

        assert_eq!(read(""), Some(("", true)));
        assert_eq!(read("a/b c.txt"), Some(("a/b c.txt", false)));
        assert_eq!(read("a/"), Some(("a", true)));
        assert_eq!(read(".well-known/x"), Some((".well-known/x", false)));
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
            "a/.env",
        ] {
            assert_eq!(read(never), None, "{never:?} must not be served");
        }
    }
}
