//! The head of a CGI response: status and fields up to the blank line (RFC 3875 §6).

use super::field::DocumentError;
use bytes::{Buf as _, Bytes};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION};
use http::{HeaderValue, StatusCode};
use memchr::memchr;

use super::field::{Field, quote};

/// The most bytes in a head, its blank line included. hyper has the same limit for the head of a request.
pub(super) const MAX: usize = 32 * 1024;

/// The head of a response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CgiHead {
    /// From 200 to 599.
    pub status: StatusCode,
    /// Every other field, repeated ones in the order they were written.
    pub headers: HeaderMap,
    /// The value of the field `Content-Length`, which is also in `headers`.
    pub content_length: Option<u64>,
}

/// A head, and the bytes after it.
#[derive(PartialEq, Eq, Debug)]
pub struct Parsed {
    /// The head.
    pub head: CgiHead,
    /// The part of the last chunk that belongs to the body. May be empty.
    pub rest: Bytes,
}

/// Parses a head chunk by chunk; the boundaries of chunks make no difference.
///
/// Lines end with LF or CRLF. Each line is checked once it is complete, so other output fails at its first line.
/// Rules:
///
/// - One of `Content-Type`, `Location` and `Status` is required. (RFC 3875 §6.3.1 requires a `Content-Type` with every
///   body. A response without one is valid HTTP, so it is accepted.)
/// - `Status` takes precedence. Without it a `Location` means 302, even if it is only a path. The internal redirect of
///   §6.2.2 would hand a client's request to another handler, so the client is redirected instead.
/// - These three fields, and `Content-Length`, may appear once.
/// - Fields about the connection, and `Date`, are dropped: only the daemon may send them.
/// - A value may contain tabs and all bytes from 0x20 on except DEL.
#[derive(Default)]
pub struct HeadParser {
    status: Option<StatusCode>,
    /// The status for a head without one: 302 with a `Location`, else 200 with a `Content-Type`.
    implied: Option<StatusCode>,
    headers: HeaderMap,
    content_length: Option<u64>,
    /// The unfinished line, which the next chunk continues.
    line: Vec<u8>,
    /// The number of bytes read so far.
    read: usize,
}

impl HeadParser {
    /// Makes a parser that has read nothing.
    pub fn new() -> HeadParser {
        HeadParser::default()
    }

    /// Parses a chunk. Returns `None` if the head is not complete yet.
    ///
    /// After a head or an error the parser must not be used again.
    ///
    /// # Errors
    /// See [`DocumentError`]; all but [`DocumentError::Empty`] and [`DocumentError::Unfinished`].
    pub fn push(&mut self, mut chunk: Bytes) -> Result<Option<Parsed>, DocumentError> {
        let mut rest = &chunk[..];
        while let Some(end) = memchr(b'\n', rest) {
            self.count(end + 1)?;
            let piece = &rest[..end];
            rest = &rest[end + 1..];
            let blank = if self.line.is_empty() {
                self.line(piece)?
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(piece);
                self.line(&line)?
            };
            if blank {
                let read = chunk.len() - rest.len();
                chunk.advance(read);
                return Ok(Some(Parsed { head: self.head()?, rest: chunk }));
            }
        }
        self.count(rest.len())?;
        self.line.extend_from_slice(rest);
        Ok(None)
    }

    /// Returns the error for output that ended before the blank line.
    pub fn finish(self) -> DocumentError {
        if self.read == 0 {
            return DocumentError::Empty;
        }
        // A last line without a line end is checked as if it had one: "Hello" alone is no field.
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        if line.is_empty() {
            return DocumentError::Unfinished("its last header field".to_owned());
        }
        Field::read(line).err().unwrap_or_else(|| DocumentError::Unfinished(quote(line)))
    }

    fn count(&mut self, bytes: usize) -> Result<(), DocumentError> {
        self.read = self.read.saturating_add(bytes);
        if self.read > MAX { Err(DocumentError::TooLarge(MAX)) } else { Ok(()) }
    }

    /// Parses a line without its LF. Returns `true` for the blank line.
    fn line(&mut self, line: &[u8]) -> Result<bool, DocumentError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Ok(true);
        }
        let field = Field::read(line)?;
        if field.name.as_str() == "status" {
            if self.status.replace(status(&field.value)?).is_some() {
                return Err(DocumentError::Repeated("Status"));
            }
        } else if !field.is_ours() {
            self.keep(field)?;
        }
        Ok(false)
    }

    fn keep(&mut self, Field { name, value }: Field) -> Result<(), DocumentError> {
        match name {
            LOCATION => self.implied = Some(StatusCode::FOUND),
            CONTENT_TYPE => self.implied = self.implied.or(Some(StatusCode::OK)),
            // The value of a second one does not matter: it is refused below.
            CONTENT_LENGTH if self.content_length.is_none() => self.content_length = Some(length(&value)?),
            _ => {}
        }
        let once = single(&name);
        // The map is full at 24 Ki names, more than fit into a head.
        let repeats = self.headers.try_append(name, value).map_err(|_| DocumentError::TooLarge(MAX))?;
        match once {
            Some(shown) if repeats => Err(DocumentError::Repeated(shown)),
            Some(_) | None => Ok(()),
        }
    }

    fn head(&mut self) -> Result<CgiHead, DocumentError> {
        let status = self.status.or(self.implied).ok_or(DocumentError::Meaningless)?;
        let headers = std::mem::take(&mut self.headers);
        Ok(CgiHead { status, headers, content_length: self.content_length })
    }
}

/// Writes a head with its blank line, in the format that [`HeadParser`] reads.
///
/// Fields that a handler may not send are written unchanged; the parser drops them.
pub fn encode(head: &CgiHead) -> Vec<u8> {
    let mut document = format!("Status: {}\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        document.extend_from_slice(name.as_str().as_bytes());
        document.extend_from_slice(b": ");
        document.extend_from_slice(value.as_bytes());
        document.push(b'\n');
    }
    document.push(b'\n');
    document
}

/// Reports whether a response with this status has no body (RFC 9110 §6.4.1). A 205 must not have one
/// either, but has to say so with a length of 0 (§15.3.6). Handlers cannot send a status below 200.
pub fn bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Returns the displayed name of a field that may appear only once.
pub(super) fn single(name: &HeaderName) -> Option<&'static str> {
    match *name {
        CONTENT_TYPE => Some("Content-Type"),
        CONTENT_LENGTH => Some("Content-Length"),
        LOCATION => Some("Location"),
        _ => None,
    }
}

/// Parses `404` or `404 Not Found` (RFC 3875 §6.3.3). The reason phrase is dropped, because HTTP/2 has none.
fn status(value: &HeaderValue) -> Result<StatusCode, DocumentError> {
    let bytes = value.as_bytes();
    let (code, words) = bytes.split_at(bytes.len().min(3));
    let status = match words {
        [] | [b' ' | b'\t', ..] => StatusCode::from_bytes(code).ok(),
        _ => None,
    };
    status.filter(|status| allowed(*status)).ok_or_else(|| DocumentError::Status(quote(bytes)))
}

/// Reports whether a handler may send this status. A 1xx is no final response, and after a 101 no protocol would take
/// over the connection.
pub(super) fn allowed(status: StatusCode) -> bool {
    (200..600).contains(&status.as_u16())
}

/// Parses a number of bytes: only digits, no sign and no list (RFC 9110 §8.6).
pub(super) fn length(value: &HeaderValue) -> Result<u64, DocumentError> {
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| DocumentError::Length(quote(value.as_bytes())))
}
