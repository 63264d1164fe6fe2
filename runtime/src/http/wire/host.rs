//! Validates and compares hosts, which a request may name more than once.

/// The error for a request with two Host fields.
pub(in crate::http) const TWO: &str = "more than one Host field";
/// The error for a target that names another host.
pub(in crate::http) const OTHER: &str = "the target and the Host field name different hosts";
/// The error for an invalid host.
pub(in crate::http) const NONE: &str = "the host is not valid: wanted NAME or NAME:PORT";

/// Reports whether two texts name the same host and port. Letter case makes no difference, nor does a port that
/// is the scheme's default (RFC 9110 §4.2.3).
pub(in crate::http) fn same(one: &str, other: &str, scheme: Option<&str>) -> bool {
    one.eq_ignore_ascii_case(other) || plain(one, scheme).eq_ignore_ascii_case(plain(other, scheme))
}

/// Reports whether a text is the path of a Unix socket, which some clients send as the host. Docker 1.9 sends
/// it plain, other clients percent-encoded.
pub(in crate::http) fn is_socket(text: &str) -> bool {
    let is_harmless =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_' | b'%');
    text.starts_with(['/', '%']) && text.bytes().all(is_harmless)
}

/// Removes the port if it is empty or the scheme's default.
fn plain<'h>(host: &'h str, scheme: Option<&str>) -> &'h str {
    let usual = match scheme {
        Some("http") => ":80",
        Some("https") => ":443",
        Some(_) | None => ":",
    };
    host.strip_suffix(usual).or_else(|| host.strip_suffix(':')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_the_usual_port_make_no_difference_and_all_else_does() {
        for (one, other, scheme) in [
            ("a.example", "A.EXAMPLE", None),
            ("a", "a:80", Some("http")),
            ("A:443", "a", Some("https")),
            ("[::1]:80", "[::1]", Some("http")),
            ("a:", "a", Some("http")),
            ("a:8080", "A:8080", Some("http")),
        ] {
            assert!(same(one, other, scheme) && same(other, one, scheme), "{one} {other}");
        }
        for (one, other, scheme) in [
            ("a", "b", Some("http")),
            ("a", "a:443", Some("http")),
            ("a", "a:80", Some("https")),
            ("a", "a:80", None),
            ("[::1]", "[::80]", Some("http")),
            ("a", "a:8080", Some("http")),
        ] {
            assert!(!same(one, other, scheme) && !same(other, one, scheme), "{one} {other}");
        }
    }
}
