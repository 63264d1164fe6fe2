//! The path to which a browser returns after the login, which never leads to another site.

/// The longest path, in bytes.
const LONGEST: usize = 2048;

/// Returns the path if it leads to this site, and `/` otherwise.
///
/// Browsers take `//host` and `/\host` for another host, and drop tabs and line breaks in a URL before they read it.
pub(crate) fn safe(path: &str) -> &str {
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let is_own = path.starts_with('/') && !path.starts_with("//");
    if is_own && is_plain && path.len() <= LONGEST { path } else { "/" }
}

/// Encodes a path as the value of a query parameter.
pub(crate) fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}
