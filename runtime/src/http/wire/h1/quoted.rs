//! Percent-encodes quotes and angle brackets in a query, which hyper does not accept.
//!
//! curl and scripts send them, and other servers accept them, although a URI may not hold them (RFC 3986 §3.4).
//! They are encoded as browsers do it (<https://url.spec.whatwg.org/#query-state>).

use memchr::{memchr, memchr3};

use super::text::is_token;

/// The rest of a request line, as far as it is here, with its query encoded.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::http) struct QuotedQuery {
    /// How many bytes it replaces.
    pub(in crate::http) length: usize,
    pub(in crate::http) encoded: Vec<u8>,
}

/// Looks for bytes to encode in the query of a request line. `begun` is the part of the line that was pushed
/// before; `bytes` follows it.
pub(super) fn find(begun: &[u8], bytes: &[u8]) -> Option<QuotedQuery> {
    let line = &bytes[..memchr(b'\n', bytes).unwrap_or(bytes.len())];
    // Nearly every line ends here.
    memchr3(b'"', b'<', b'>', line)?;
    // A line with a bad method is refused, and logged as it came.
    let mut method = begun.iter().chain(line).copied().take_while(|byte| *byte != b' ').peekable();
    method.peek()?;
    if !method.all(|byte| is_token(&[byte])) {
        return None;
    }
    let mut place = QueryPlace::default();
    begun.iter().for_each(|byte| place.pass(*byte));
    let good = line.iter().position(|byte| {
        place.pass(*byte);
        place.is_encoded(*byte)
    })?;
    let mut encoded = Vec::with_capacity(line.len() + 16);
    encoded.extend_from_slice(&line[..good]);
    for &byte in &line[good..] {
        place.pass(byte);
        match byte {
            b'"' if place.is_encoded(byte) => encoded.extend(b"%22"),
            b'<' if place.is_encoded(byte) => encoded.extend(b"%3C"),
            b'>' if place.is_encoded(byte) => encoded.extend(b"%3E"),
            byte => encoded.push(byte),
        }
    }
    Some(QuotedQuery { length: line.len(), encoded })
}

/// The position in a request line.
#[derive(Default)]
struct QueryPlace {
    spaces: usize,
    is_query: bool,
    is_fragment: bool,
}

impl QueryPlace {
    fn pass(&mut self, byte: u8) {
        match byte {
            b' ' => self.spaces += 1,
            b'?' => self.is_query |= self.spaces == 1,
            b'#' => self.is_fragment |= self.spaces == 1,
            _ => {}
        }
    }

    fn is_encoded(&self, byte: u8) -> bool {
        self.spaces == 1 && self.is_query && !self.is_fragment && matches!(byte, b'"' | b'<' | b'>')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a line in these pieces.
    fn sent(pieces: [&str; 2]) -> String {
        let mut sent = Vec::new();
        for piece in pieces.map(str::as_bytes) {
            match find(&sent, piece) {
                None => sent.extend(piece),
                Some(QuotedQuery { length, encoded }) => {
                    sent.extend([&encoded, &piece[length..]].concat());
                }
            }
        }
        String::from_utf8(sent).unwrap()
    }

    #[test]
    fn a_line_without_a_method_is_left_to_be_refused_as_a_whole() {
        assert_eq!(find(b"", b" /?\" HTTP/1.1\r\n"), None);
        assert_eq!(find(b"G\x80", b"T /?\" HTTP/1.1\r\n"), None);
        assert!(find(b"GE", b"T /?\" HTTP/1.1\r\n").is_some());
    }

    #[test]
    fn quotes_in_a_query_are_encoded_and_nothing_else() {
        for (line, encoded) in [
            ("GET /?q=\"a\" HTTP/1.1\r\n", "GET /?q=%22a%22 HTTP/1.1\r\n"),
            ("GET /?<b>=? HTTP/1.1\r\n", "GET /?%3Cb%3E=? HTTP/1.1\r\n"),
            ("GET http://a/b?\" HTTP/1.1\r\n", "GET http://a/b?%22 HTTP/1.1\r\n"),
            ("GET /\"?a#\" HTTP/1.1\r\n", "GET /\"?a#\" HTTP/1.1\r\n"),
            ("GET?\" /<> a?\"\r\n", "GET?\" /<> a?\"\r\n"),
        ] {
            for cut in 0..line.len() {
                assert_eq!(sent([&line[..cut], &line[cut..]]), encoded, "cut at {cut}");
            }
        }
        let head = "GET /? HTTP/1.1\r\nA: ?\"<\"\r\n";
        assert_eq!(sent([head, ""]), head);
    }
}
