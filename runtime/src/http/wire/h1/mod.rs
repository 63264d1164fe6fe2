//! Checks an HTTP/1 client's bytes before hyper reads them.
//!
//! hyper is lenient: it accepts a line that ends with a bare LF, a length beside chunks, or two equal lengths.
//! A server in front of us may read such a message in another way, and then the two disagree about where a
//! request ends. So every message is followed to its end here, strictly by RFC 9112. A deviation ends the
//! connection. Bytes are checked in place: only a line that arrives in pieces is copied.
//!
//! Floors, lowest first: `text`; `head`, `quoted`; the framing in this file.

pub(in crate::http) mod head;
pub(in crate::http) mod quoted;
mod text;

use std::mem;

use memchr::memchr;

use crate::http::refusal::Refusal;
use head::{BodyKind, HeadLimits, RequestHead, malformed};
use quoted::QuotedQuery;
use text::{chunk_size, has_control, is_token, plain_line, split};

/// Follows the messages of one connection.
pub(in crate::http) struct H1Guard {
    bounds: HeadLimits,
    at: NextPart,
    /// The beginning of an incomplete line.
    line: Vec<u8>,
    head: RequestHead,
    /// The request line of a head that arrived in pieces, as it may be shown.
    asked: Vec<u8>,
    /// How many heads were complete and valid.
    heads: u64,
}

/// What is expected next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NextPart {
    /// A request line, or the one empty line that may stand before it (RFC 9112 §2.2).
    Start,
    Fields,
    /// This many bytes of a body.
    Body(u64),
    /// The line with the size of a chunk.
    Size,
    /// This many bytes of a chunk.
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    Trailers,
}

/// The result of checking some bytes.
pub(in crate::http) enum Checked {
    /// All of them are valid.
    All,
    /// This many are valid. The last one ends a message that may also end HTTP.
    UpTo(usize),
    /// A byte in a query has to be percent-encoded. The bytes before it are valid; the encoded bytes are to be
    /// pushed in place of those they replace.
    Quoted(QuotedQuery),
}

/// Bytes that are not HTTP/1.1.
pub(in crate::http) struct Violation {
    /// How many bytes before them may be passed to hyper.
    pub(in crate::http) good: usize,
    /// The part of the message: hyper has not seen a bad head, but may be reading a bad body.
    pub(in crate::http) of: MessagePart,
    pub(in crate::http) refusal: Refusal,
    /// The known part of the request line, fit for a log: a method and a target, a quoted text, or `-`.
    pub(in crate::http) asked: String,
}

/// A part of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::http) enum MessagePart {
    Head,
    Body,
}

/// The result of [`follow`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Followed {
    /// The bytes that were let through.
    pub passed: Vec<u8>,
    /// How many heads were complete.
    pub heads: u64,
    /// The code of the refusal of the rest. `None` if nothing was refused, or if a request may have ended HTTP
    /// and nothing after it was checked.
    pub refused: Option<&'static str>,
}

/// The most bytes of a chunk-size line. Chunk extensions have no use.
const CHUNK_LINE: usize = 1024;

/// The most bytes of a refused request line that are logged.
const SHOWN: usize = 200;

/// The length of CR LF, in bytes.
const LINE_END: usize = 2;

/// The first byte of a TLS client (RFC 8446 §5.1). No method begins with it.
const HANDSHAKE: u8 = 22;

/// Checks bytes in pieces of the given size, as a connection would.
pub fn follow(bytes: &[u8], piece: usize, bounds: HeadLimits) -> Followed {
    let mut guard = H1Guard::new(bounds);
    let mut passed = Vec::new();
    let refusal = bytes.chunks(piece.max(1)).find_map(|piece| guard.pass(piece, &mut passed).err());
    let refused = refusal.flatten().map(|refusal| refusal.code());
    Followed { passed, heads: guard.heads, refused }
}

impl H1Guard {
    pub(in crate::http) fn new(bounds: HeadLimits) -> H1Guard {
        H1Guard {
            bounds,
            at: NextPart::Start,
            line: Vec::new(),
            head: RequestHead::default(),
            asked: Vec::new(),
            heads: 0,
        }
    }

    /// Returns how many heads were complete and valid.
    pub(in crate::http) fn heads(&self) -> u64 {
        self.heads
    }

    /// Returns how many bytes of the head are here, until its message is complete.
    pub(in crate::http) fn head_bytes(&self) -> usize {
        self.head.size + self.line.len()
    }

    /// Checks the next bytes and appends those that are let through.
    ///
    /// # Errors
    /// The refusal of the rest, or `None` if nothing is checked any more.
    fn pass(&mut self, bytes: &[u8], passed: &mut Vec<u8>) -> Result<(), Option<Refusal>> {
        match self.push(bytes) {
            Ok(Checked::All) => passed.extend(bytes),
            Ok(Checked::UpTo(good)) => {
                passed.extend(&bytes[..good]);
                return Err(None);
            }
            Ok(Checked::Quoted(QuotedQuery { good, length, encoded })) => {
                passed.extend(&bytes[..good]);
                return self.pass(&[&encoded, &bytes[good + length..]].concat(), passed);
            }
            Err(Violation { good, refusal, .. }) => {
                passed.extend(&bytes[..good]);
                return Err(Some(refusal));
            }
        }
        Ok(())
    }

    /// Checks the next bytes.
    ///
    /// # Errors
    /// The bytes are not valid HTTP/1.1, or exceed a limit.
    pub(in crate::http) fn push(&mut self, bytes: &[u8]) -> Result<Checked, Violation> {
        let mut next = 0;
        // The start of the current message.
        let mut begun = 0;
        while next < bytes.len() {
            let (rest, of) = (&bytes[next..], self.part());
            if let Some(taken) = self.take_plain_request(rest) {
                next += taken;
                continue;
            }
            if self.at == NextPart::Start
                && let Some(quoted) = quoted::find(&self.line, rest)
            {
                self.line.extend_from_slice(&rest[..quoted.good]);
                return Ok(Checked::Quoted(QuotedQuery { good: next + quoted.good, ..quoted }));
            }
            let taken = match self.at {
                NextPart::Body(_) | NextPart::Chunk(_) => Ok(self.skip(rest)),
                NextPart::Start
                | NextPart::Fields
                | NextPart::Size
                | NextPart::ChunkEnd
                | NextPart::Trailers => self.take_line(rest),
            };
            next += taken.map_err(|refusal| {
                let good = if of == MessagePart::Head { begun } else { next };
                self.violation(refusal, of, good, &bytes[begun..])
            })?;
            if self.at == NextPart::Start && self.head.is_whole {
                // The message is whole.
                begun = next;
                self.asked.clear();
                if mem::take(&mut self.head).asks_to_switch {
                    return Ok(Checked::UpTo(next));
                }
            }
        }
        if self.at == NextPart::Fields && self.asked.is_empty() {
            self.asked = first_line(&bytes[begun..]).to_vec();
        }
        Ok(Checked::All)
    }

    /// Describes the refusal of a message that begins or continues with these bytes.
    fn violation(&self, refusal: Refusal, of: MessagePart, good: usize, bytes: &[u8]) -> Violation {
        let line = match (&self.asked[..], &self.line[..]) {
            ([], []) => first_line(bytes),
            ([], begun) => first_line(begun),
            (asked, _) => asked,
        };
        if of == MessagePart::Head && line.first() == Some(&HANDSHAKE) {
            // Its bytes tell an operator nothing.
            return Violation { good, of, refusal: Refusal::UnexpectedTls, asked: "-".to_owned() };
        }
        Violation { good, of, refusal, asked: H1Guard::shown(line) }
    }

    /// Returns a request line, fit for a log. Anything but a method and a target is quoted: with spaces in it, it
    /// could read like a log line about another request.
    fn shown(line: &[u8]) -> String {
        let asked = line.strip_suffix(b" HTTP/1.1").or(line.strip_suffix(b" HTTP/1.0")).unwrap_or(line);
        let text = String::from_utf8_lossy(asked);
        match text.split_once(' ') {
            None if text.is_empty() => "-".to_owned(),
            Some((method, target)) if is_token(method.as_bytes()) && !target.contains(' ') => {
                text.escape_debug().to_string()
            }
            Some(_) | None => format!("{text:?}"),
        }
    }

    /// Skips the rest of a body or chunk. Returns how many of these bytes belong to it.
    fn skip(&mut self, rest: &[u8]) -> usize {
        let (NextPart::Body(left) | NextPart::Chunk(left)) = self.at else { return 0 };
        let skipped = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
        self.at = match (self.at, left - skipped as u64) {
            (NextPart::Body(_), 0) => NextPart::Start,
            (NextPart::Body(_), left) => NextPart::Body(left),
            (_, 0) => NextPart::ChunkEnd,
            (_, left) => NextPart::Chunk(left),
        };
        skipped
    }

    fn part(&self) -> MessagePart {
        match self.at {
            NextPart::Start | NextPart::Fields => MessagePart::Head,
            NextPart::Body(_)
            | NextPart::Size
            | NextPart::Chunk(_)
            | NextPart::ChunkEnd
            | NextPart::Trailers => MessagePart::Body,
        }
    }

    /// Takes a request line that is here as a whole and valid, as nearly every one is. Otherwise changes nothing.
    fn take_plain_request(&mut self, rest: &[u8]) -> Option<usize> {
        if self.at != NextPart::Start || !self.line.is_empty() {
            return None;
        }
        let line = plain_line(rest)?;
        let whole = line.len() + LINE_END;
        self.check_size(whole).ok()?;
        if !self.head.is_plain_request(line, &self.bounds) {
            return None;
        }
        self.head.size += whole;
        self.at = NextPart::Fields;
        Some(whole)
    }

    /// Takes a line, or the beginning of one. Returns how many bytes it took.
    fn take_line(&mut self, rest: &[u8]) -> Result<usize, Refusal> {
        if self.line.is_empty()
            && let Some(line) = plain_line(rest)
        {
            let whole = line.len() + LINE_END;
            self.check_size(whole)?;
            self.look_inside(line)?;
            return Ok(whole);
        }
        let Some(end) = memchr(b'\n', rest) else {
            // The first message of a TLS client may have no line end, and it sends no more before an answer.
            if self.at == NextPart::Start && self.line.is_empty() && rest.first() == Some(&HANDSHAKE) {
                return Err(Refusal::UnexpectedTls);
            }
            self.check_size(self.line.len() + rest.len())?;
            self.line.extend_from_slice(rest);
            return Ok(rest.len());
        };
        let whole = &rest[..=end];
        self.check_size(self.line.len() + whole.len())?;
        if self.line.is_empty() {
            self.look_at(whole)?;
        } else {
            let mut line = mem::take(&mut self.line);
            line.extend_from_slice(whole);
            if self.at == NextPart::Start {
                self.asked = first_line(&line).to_vec();
            }
            self.look_at(&line)?;
            line.clear();
            self.line = line;
        }
        Ok(whole.len())
    }

    /// Checks the size of a line, or of its beginning, against the limits.
    fn check_size(&self, line: usize) -> Result<(), Refusal> {
        // The longest method and the version take at most this many bytes beside the target.
        const BESIDE: usize = 64;
        match self.at {
            NextPart::Start if line > self.bounds.target + BESIDE => {
                Err(Refusal::TargetTooLong(self.bounds.target))
            }
            NextPart::Size | NextPart::ChunkEnd if line > CHUNK_LINE => {
                Err(malformed("the line before a chunk is too long"))
            }
            _ if self.head.size + line > self.bounds.head => {
                Err(Refusal::HeadTooLarge(format!("more than {} bytes", self.bounds.head)))
            }
            _ => Ok(()),
        }
    }

    /// Checks a complete line, including its end.
    fn look_at(&mut self, whole: &[u8]) -> Result<(), Refusal> {
        let Some(line) = whole.strip_suffix(b"\r\n") else {
            return Err(malformed("a line that does not end with CR LF"));
        };
        if has_control(line) {
            return Err(malformed("a control character"));
        }
        self.look_inside(line)
    }

    /// Checks a complete line, without its end, that holds no control character but tabs.
    fn look_inside(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let size = line.len() + LINE_END;
        match self.at {
            NextPart::Start => {
                self.head.size += size;
                if line.is_empty() && !mem::replace(&mut self.head.after_blank, true) {
                    return Ok(());
                }
                self.head.request_line(line, &self.bounds)?;
                self.at = NextPart::Fields;
            }
            NextPart::Fields => {
                self.head.size += size;
                match line {
                    [] => {
                        self.at = match self.head.end()? {
                            BodyKind::Nothing => NextPart::Start,
                            BodyKind::Bytes(length) => NextPart::Body(length),
                            BodyKind::Chunks => NextPart::Size,
                        };
                        self.heads += 1;
                    }
                    line => self.head.field(line, &self.bounds)?,
                }
            }
            NextPart::Size => {
                self.at = match chunk_size(line).ok_or_else(|| malformed("no size of a chunk"))? {
                    0 => {
                        self.head.size = 0;
                        NextPart::Trailers
                    }
                    size => NextPart::Chunk(size),
                };
            }
            NextPart::ChunkEnd if line.is_empty() => self.at = NextPart::Size,
            NextPart::ChunkEnd => return Err(malformed("a chunk that is longer than its size")),
            NextPart::Trailers => {
                self.head.size += size;
                match line {
                    [] => self.at = NextPart::Start,
                    line => drop(split(line).map_err(malformed)?),
                }
            }
            NextPart::Body(_) | NextPart::Chunk(_) => {}
        }
        Ok(())
    }
}

/// Returns the first line that is not empty, cut at [`SHOWN`] bytes.
fn first_line(bytes: &[u8]) -> &[u8] {
    let from = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let line = bytes[from..].split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    &line[..line.len().min(SHOWN)]
}

#[cfg(test)]
mod tests;
