//! The path of a request, percent-decoded once.
//!
//! Routes are matched with the decoded text, and handlers receive it. Nothing decodes it a second time, so all parts
//! of the daemon read the same path.

use std::borrow::Cow;
use std::fmt;

/// Why a path is refused. The client's fault: a 400.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathError {
    /// It does not start with `/`.
    Relative,
    /// A `%` that is not followed by two hexadecimal digits.
    Escape,
    /// A control character, including NUL, literal or percent-encoded.
    Control,
    /// The decoded bytes are not UTF-8.
    Encoding,
    /// A segment that is `.` or `..`.
    Dots,
}

/// Decodes a path. Allocates only if it contains a `%`.
///
/// `%2F` becomes `/`, as in Docker's router: a route cannot tell the two apart. Empty segments and backslashes stay,
/// because neither has a meaning for a WASI guest.
///
/// # Errors
/// The path could be read in more than one way, or is not absolute.
pub fn decode(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if !raw.starts_with('/') {
        return Err(PathError::Relative);
    }
    if is_plain(raw) {
        return Ok(Cow::Borrowed(raw));
    }
    let path = match raw.contains('%') {
        false => Cow::Borrowed(raw),
        true => Cow::Owned(String::from_utf8(unescape(raw)?).map_err(|_| PathError::Encoding)?),
    };
    if has_control(&path) {
        return Err(PathError::Control);
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(PathError::Dots);
    }
    Ok(path)
}

/// Reports whether a path is decoded and valid as it is, as nearly every path: printable ASCII without escapes, and no
/// segment begins with a dot. One look at each byte tells.
fn is_plain(path: &str) -> bool {
    let mut before = b' ';
    path.bytes().all(|byte| {
        let is_plain = matches!(byte, b' '..=b'~') && byte != b'%' && !(byte == b'.' && before == b'/');
        before = byte;
        is_plain
    })
}

/// Reports whether a path holds a control character. In ASCII, they are told by their bytes.
fn has_control(path: &str) -> bool {
    match path.is_ascii() {
        true => path.bytes().any(|byte| byte.is_ascii_control()),
        false => path.chars().any(char::is_control),
    }
}

fn unescape(raw: &str) -> Result<Vec<u8>, PathError> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == b'%' {
            let [high, low, ..] = *behind else { return Err(PathError::Escape) };
            bytes.push(digit(high)? << 4 | digit(low)?);
            rest = &behind[2..];
        } else {
            bytes.push(byte);
        }
    }
    Ok(bytes)
}

fn digit(byte: u8) -> Result<u8, PathError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(PathError::Escape),
    }
}

/// Splits a decoded path into `SCRIPT_NAME` and `PATH_INFO`. `PATH_INFO` is the part that the route's tail matched,
/// with the slash before it (RFC 3875 §4.1.5). Without a tail, `SCRIPT_NAME` is the whole path.
///
/// ```
/// use portcullis::cgi::path::split;
/// assert_eq!(split("/files/a/b", Some("a/b")), ("/files", "/a/b"));
/// assert_eq!(split("/files/", Some("")), ("/files", "/"));
/// assert_eq!(split("/hello/ada", None), ("/hello/ada", ""));
/// ```
pub fn split<'p>(path: &'p str, tail: Option<&str>) -> (&'p str, &'p str) {
    let Some(front) = tail.and_then(|tail| path.strip_suffix(tail)) else { return (path, "") };
    path.split_at(front.strip_suffix('/').unwrap_or(front).len())
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::Relative => "the path does not start with `/`",
            PathError::Escape => "the path holds a `%` without two hexadecimal digits behind it",
            PathError::Control => "the path holds a control character",
            PathError::Encoding => "the path is not UTF-8",
            PathError::Dots => "the path holds a segment `.` or `..`",
        })
    }
}

impl std::error::Error for PathError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_decoded_once() {
        for (raw, decoded) in [
            ("/", "/"),
            ("/a//b/", "/a//b/"),
            ("/a%20b", "/a b"),
            ("/a%2Fb%2fc", "/a/b/c"),
            ("/%252e%252e/x", "/%2e%2e/x"),
            ("/caf%C3%A9", "/café"),
            ("/a;b=1", "/a;b=1"),
            (r"/a\..\b", r"/a\..\b"),
            ("/...", "/..."),
            ("/%3Fa", "/?a"),
        ] {
            assert_eq!(decode(raw).as_deref(), Ok(decoded), "{raw}");
        }
    }

    #[test]
    fn a_path_that_could_be_read_in_two_ways_is_refused() {
        for (raw, error) in [
            ("", PathError::Relative),
            ("*", PathError::Relative),
            ("a/b", PathError::Relative),
            ("%2Fa", PathError::Relative),
            ("/%", PathError::Escape),
            ("/%4", PathError::Escape),
            ("/%zz", PathError::Escape),
            ("/%+1", PathError::Escape),
            ("/%é", PathError::Escape),
            ("/a%00b", PathError::Control),
            ("/a%0d%0ab", PathError::Control),
            ("/a\u{1f}b", PathError::Control),
            ("/a\u{7f}", PathError::Control),
            ("/a\u{85}", PathError::Control),
            ("/%7f", PathError::Control),
            ("/%C2%85", PathError::Control),
            ("/%ff", PathError::Encoding),
            ("/%c0%af", PathError::Encoding),
            ("/.", PathError::Dots),
            ("/a/../b", PathError::Dots),
            ("/a/%2E%2e/b", PathError::Dots),
            ("/a%2f..%2fb", PathError::Dots),
            ("/a/..", PathError::Dots),
        ] {
            assert_eq!(decode(raw), Err(error), "{raw}");
        }
    }

    #[test]
    fn a_path_without_escapes_is_not_copied() {
        assert!(matches!(decode("/a/b"), Ok(Cow::Borrowed("/a/b"))));
    }

    #[test]
    fn a_tail_is_the_path_info() {
        for (path, tail, parts) in [
            ("/files/a/b", Some("a/b"), ("/files", "/a/b")),
            ("/files/", Some(""), ("/files", "/")),
            ("/files//a", Some("/a"), ("/files", "//a")),
            ("/a", Some("a"), ("", "/a")),
            ("/", Some(""), ("", "/")),
            ("/hello/ada", None, ("/hello/ada", "")),
        ] {
            assert_eq!(split(path, tail), parts, "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_is_decoded_has_no_dots_and_no_controls(raw in "/([a./%]|%2[eEfF]|%00|é){0,24}") {
            if let Ok(path) = decode(&raw) {
                prop_assert!(!path.chars().any(char::is_control));
                prop_assert!(path.split('/').all(|segment| segment != ".." && segment != "."));
            }
        }

        #[test]
        fn an_encoded_path_comes_back(name in "[^\\p{Cc}/.]{0,16}") {
            let raw: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let decoded = decode(&format!("/{raw}")).map(Cow::into_owned);
            prop_assert_eq!(decoded, Ok(format!("/{name}")));
        }
    }
}
