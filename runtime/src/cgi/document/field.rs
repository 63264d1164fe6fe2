//! Parses one line of a response head into a field, and defines the errors of invalid heads.

use std::fmt;

use http::header::{
    CONNECTION, CONTENT_TYPE, DATE, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

/// Why the output of a handler is not a CGI response. The handler's fault: a 502.
///
/// Every quoted text is cut to the length of a line and escaped, so it is safe for a log and a terminal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DocumentError {
    /// Nothing was written.
    Empty,
    /// The output ended before the blank line; the text says where.
    Unfinished(String),
    /// A line that is neither a field nor blank; its beginning.
    NotAField(String),
    /// The status line of a whole HTTP response.
    StatusLine(String),
    /// A line that continues the previous one. RFC 9112 §5.2 has deprecated this.
    Folded(String),
    /// White space between a name and its colon (RFC 9112 §5.1).
    SpaceBeforeColon(String),
    /// A value with a character that no field may contain; the field's name.
    Value(String),
    /// A status that a handler may not send.
    Status(String),
    /// A length that is not a number of bytes.
    Length(String),
    /// A field that may appear once, but appears twice.
    Repeated(&'static str),
    /// None of the fields that define a response.
    Meaningless,
    /// The head exceeds this many bytes.
    TooLarge(usize),
}

/// A checked field of a head.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: HeaderName,
    pub(super) value: HeaderValue,
}

impl Field {
    /// Reads a line without its end; not a blank one.
    ///
    /// # Errors
    /// The line is no field, or another parser could read it differently.
    pub(super) fn read(line: &[u8]) -> Result<Field, DocumentError> {
        // The field of nearly every head, in its usual spelling: its name needs no search.
        if let Some(value) = line.strip_prefix(b"Content-Type:") {
            return Field::of(CONTENT_TYPE, value);
        }
        if let [b' ' | b'\t', ..] = line {
            return Err(DocumentError::Folded(quote(line)));
        }
        if line.starts_with(b"HTTP/") {
            return Err(DocumentError::StatusLine(quote(line)));
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Err(DocumentError::NotAField(quote(line)));
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if let [token @ .., b' ' | b'\t'] = name
            && HeaderName::from_bytes(token.trim_ascii_end()).is_ok()
        {
            return Err(DocumentError::SpaceBeforeColon(quote(line)));
        }
        let name = HeaderName::from_bytes(name).map_err(|_| DocumentError::NotAField(quote(line)))?;
        Field::of(name, value)
    }

    fn of(name: HeaderName, value: &[u8]) -> Result<Field, DocumentError> {
        match HeaderValue::from_bytes(trim(value)) {
            Ok(value) => Ok(Field { name, value }),
            Err(_) => Err(DocumentError::Value(name.to_string())),
        }
    }

    /// Reports whether only the daemon may send the field.
    pub(super) fn is_ours(&self) -> bool {
        is_ours(&self.name)
    }
}

/// The prefix of the fields that the daemon adds to responses, such as the version and the reason of a failure.
const ADDED: &str = "x-portcullis-";

/// Reports whether a field concerns the connection, or is the daemon's own. Such fields of a handler are dropped: a
/// handler does not control the connection, and must not speak for the daemon.
pub fn is_ours(name: &HeaderName) -> bool {
    let text = name.as_str();
    matches!(*name, CONNECTION | DATE | TE | TRAILER | TRANSFER_ENCODING | UPGRADE)
        || matches!(text, "keep-alive" | "proxy-connection")
        || text.starts_with(ADDED)
}

/// Removes the white space around a value (RFC 9110 §5.5). Nothing else is removed: a vertical tab, for example, makes
/// the value invalid.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Quotes the beginning of a text, on one line.
pub(super) fn quote(bytes: &[u8]) -> String {
    // Enough to recognize a line; more would only fill the log.
    const MAX: usize = 60;
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX)]);
    let dots = if bytes.len() > MAX { "..." } else { "" };
    format!("\"{}{dots}\"", start.escape_debug())
}

/// The advice at the end of the messages.
const ADVICE: &str =
    "write \"Content-Type: text/plain\", a blank line, then the body, or set output = \"raw\"";

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DocumentError::Empty => write!(f, "the handler ended without writing anything; {ADVICE}"),
            DocumentError::Unfinished(end) => {
                write!(f, "the handler ended with {end} before the blank line that ends the head; {ADVICE}")
            }
            DocumentError::NotAField(line) => {
                write!(
                    f,
                    "the handler wrote {line} where a header field or a blank line was expected; {ADVICE}"
                )
            }
            DocumentError::StatusLine(line) => {
                write!(f, "the handler wrote {line}; a CGI response says \"Status: 200 OK\" instead")
            }
            DocumentError::Folded(line) => {
                write!(f, "the handler wrote {line}; a header field takes one line, and starts with its name")
            }
            DocumentError::SpaceBeforeColon(line) => {
                write!(
                    f,
                    "the handler wrote {line}; a header field has no space between its name and the colon"
                )
            }
            DocumentError::Value(name) => {
                write!(f, "the handler gave {name} a value with a control character in it")
            }
            DocumentError::Status(value) => {
                write!(f, "the handler wrote Status: {value}; write a number from 200 to 599")
            }
            DocumentError::Length(value) => {
                write!(f, "the handler wrote Content-Length: {value}; write the number of bytes in the body")
            }
            DocumentError::Repeated(name) => write!(f, "the handler wrote {name} twice"),
            DocumentError::Meaningless => {
                write!(f, "the handler wrote a head with none of Content-Type, Location and Status; {ADVICE}")
            }
            DocumentError::TooLarge(max) => {
                write!(f, "the handler wrote a head of more than {max} bytes; {ADVICE}")
            }
        }
    }
}

impl std::error::Error for DocumentError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_a_value_is_not_part_of_it() {
        let field = Field::read(b"X-A:\t a b \t").unwrap();
        assert_eq!((field.name.as_str(), field.value.as_bytes()), ("x-a", &b"a b"[..]));
        assert_eq!(Field::read(b"X-A:").unwrap().value, "");
    }

    #[test]
    fn a_content_type_is_the_same_in_every_spelling() {
        for line in ["Content-Type: a/b ", "Content-Type:a/b", "content-type:\ta/b", "CONTENT-TYPE: a/b"] {
            let field = Field::read(line.as_bytes()).unwrap();
            assert_eq!((field.name, field.value.as_bytes()), (CONTENT_TYPE, &b"a/b"[..]), "{line}");
        }
        let error = |line: &[u8]| Field::read(line).unwrap_err();
        assert_eq!(error(b"Content-Type: a\rb"), DocumentError::Value("content-type".into()));
        assert_eq!(error(b"content-type: a\rb"), DocumentError::Value("content-type".into()));
        assert_eq!(
            error(b"Content-Type : a/b"),
            DocumentError::SpaceBeforeColon("\"Content-Type : a/b\"".into())
        );
        assert_eq!(Field::read(b"Content-Types: x").unwrap().name.as_str(), "content-types");
    }

    #[test]
    fn a_line_that_could_be_read_in_two_ways_is_refused() {
        let error = |line: &[u8]| Field::read(line).unwrap_err();
        assert_eq!(error(b"Hello"), DocumentError::NotAField("\"Hello\"".into()));
        assert_eq!(
            error(b"<a href=\"http://x\">"),
            DocumentError::NotAField(r#""<a href=\"http://x\">""#.into())
        );
        assert_eq!(error(b": x"), DocumentError::NotAField("\": x\"".into()));
        assert_eq!(error(b"HTTP/1.1 200 OK"), DocumentError::StatusLine("\"HTTP/1.1 200 OK\"".into()));
        assert_eq!(error(b" X: y"), DocumentError::Folded("\" X: y\"".into()));
        assert_eq!(error(b"X : y"), DocumentError::SpaceBeforeColon("\"X : y\"".into()));
        for value in [&b"a\rb"[..], b"a\0b", b"\x0b", b"\x7f", b"a\r"] {
            assert_eq!(error(&[b"X-A:", value].concat()), DocumentError::Value("x-a".into()), "{value:?}");
        }
        assert_eq!(Field::read(b"X\0A: b").unwrap_err(), DocumentError::NotAField("\"X\\0A: b\"".into()));
    }

    #[test]
    fn a_quote_fits_on_a_line() {
        assert_eq!(quote(b"a\n\x1b[31m\xff"), "\"a\\n\\u{1b}[31m\u{fffd}\"");
        assert_eq!(quote(&[b'x'; 61]).len(), 60 + 5);
        assert_eq!(quote(&[b'x'; 60]).len(), 60 + 2);
    }

    #[test]
    fn an_error_says_what_to_do() {
        assert_eq!(
            DocumentError::NotAField(quote(b"Hello")).to_string(),
            "the handler wrote \"Hello\" where a header field or a blank line was expected; \
             write \"Content-Type: text/plain\", a blank line, then the body, or set output = \"raw\""
        );
    }
}
