//! Checks an HTTP/1 client's bytes before hyper reads them.
//!
//! hyper is lenient: it accepts a line that ends with a bare LF, a length beside chunks, or two equal lengths.
//! A server in front of us may read such a message in another way, and then the two disagree about where a
//! request ends. So every message is followed to its end here, strictly by RFC 9112. A deviation ends the
//! connection. Bytes are checked in place: only a line that arrives in pieces is copied. Such a line of a head is
//! withheld from hyper until it is complete and valid, since hyper would refuse it by itself, and say nothing of it.
//!
//! Floors, lowest first: `text`; `head`, `quoted`; the framing in this file; `follow`.

pub(in crate::http) mod follow;
pub(in crate::http) mod head;
pub(in crate::http) mod quoted;
mod text;

use std::mem;

use bytes::BytesMut;
use memchr::memchr;

use crate::http::refusal::Refusal;
use head::{BodyKind, HeadLimits, RequestHead, malformed};
use quoted::QuotedQuery;
use text::{chunk_size, has_control, is_token, plain_line, split};

/// Follows the messages of one connection.
pub(in crate::http) struct H1Guard {
    bounds: HeadLimits,
    at: NextPart,
    /// The beginning of an incomplete line. It is withheld if the line is of a head.
    line: BytesMut,
    /// What was withheld of the line that the last bytes have completed.
    completed: BytesMut,
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
    /// This many are valid. The others begin a line of a head, and are withheld until it is complete.
    Begun(usize),
    /// This many are valid. The last one ends a message that may also end HTTP.
    UpTo(usize),
    /// A byte in a query has to be percent-encoded. This many bytes before its line are valid; the encoded bytes are
    /// to be pushed in place of those they replace.
    Quoted(usize, QuotedQuery),
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

/// The most bytes of a chunk-size line. Chunk extensions have no use.
const CHUNK_LINE: usize = 1024;

/// The most bytes of a refused request line that are logged.
const SHOWN: usize = 200;

/// The length of CR LF, in bytes.
const LINE_END: usize = 2;

/// The first byte of a TLS client (RFC 8446 §5.1). No method begins with it.
const HANDSHAKE: u8 = 22;

impl H1Guard {
    pub(in crate::http) fn new(bounds: HeadLimits) -> H1Guard {
        H1Guard {
            bounds,
            at: NextPart::Start,
            line: BytesMut::new(),
            completed: BytesMut::new(),
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

    /// Reports whether a head has begun and is not complete.
    pub(in crate::http) fn has_begun_head(&self) -> bool {
        self.part() == MessagePart::Head && self.head_bytes() > 0
    }

    /// Takes what was withheld of the line that the last bytes have completed. It comes before them.
    pub(in crate::http) fn take_completed(&mut self) -> Option<BytesMut> {
        (!self.completed.is_empty()).then(|| mem::take(&mut self.completed))
    }

    /// Checks the next bytes.
    ///
    /// # Errors
    /// The bytes are not valid HTTP/1.1, or exceed a limit.
    pub(in crate::http) fn push(&mut self, bytes: &[u8]) -> Result<Checked, Violation> {
        let mut next = 0;
        // The start of the current message.
        let mut begun = 0;
        let mut checked = Checked::All;
        while next < bytes.len() {
            let (rest, of) = (&bytes[next..], self.part());
            if let Some(taken) = self.take_plain_request(rest) {
                next += taken;
                continue;
            }
            if self.at == NextPart::Start
                && let Some(quoted) = quoted::find(&self.line, rest)
            {
                return Ok(Checked::Quoted(next, quoted));
            }
            let taken = match self.at {
                NextPart::Body(_) | NextPart::Chunk(_) => Ok(self.skip(rest)),
                NextPart::Start
                | NextPart::Fields
                | NextPart::Size
                | NextPart::ChunkEnd
                | NextPart::Trailers => self.take_line(rest),
            };
            let taken = taken.map_err(|refusal| {
                let good = if of == MessagePart::Head { begun } else { next };
                self.violation(refusal, of, good, &bytes[begun..])
            })?;
            if of == MessagePart::Head && !self.line.is_empty() {
                checked = Checked::Begun(next);
                break;
            }
            next += taken;
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
        Ok(checked)
    }

    /// Describes the refusal of a message that begins or continues with these bytes.
    fn violation(&mut self, refusal: Refusal, of: MessagePart, good: usize, bytes: &[u8]) -> Violation {
        if good == 0 {
            // The line that was completed is of the message that is refused.
            self.completed.clear();
        }
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
        if self.at == NextPart::Start && self.line.is_empty() && !may_begin(rest) {
            return Err(malformed("a method that is not a token"));
        }
        if self.line.is_empty()
            && let Some(line) = plain_line(rest)
        {
            let whole = line.len() + LINE_END;
            self.check_size(whole)?;
            self.look_inside(line)?;
            return Ok(whole);
        }
        let Some(end) = memchr(b'\n', rest) else {
            self.check_size(self.line.len() + rest.len())?;
            self.line.extend_from_slice(rest);
            return Ok(rest.len());
        };
        let whole = &rest[..=end];
        self.check_size(self.line.len() + whole.len())?;
        if self.line.is_empty() {
            self.look_at(whole)?;
        } else {
            let (before, of) = (self.line.len(), self.part());
            let mut line = mem::take(&mut self.line);
            line.extend_from_slice(whole);
            if self.at == NextPart::Start {
                self.asked = first_line(&line).to_vec();
            }
            self.look_at(&line)?;
            if of == MessagePart::Head {
                line.truncate(before);
                self.completed = line;
            }
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

/// Reports whether a request line, or the empty line before it, may begin with these bytes. A sender of others is
/// refused before its line ends: a client of TLS sends no line end, and no more before an answer.
fn may_begin(line: &[u8]) -> bool {
    line.first().is_none_or(|first| matches!(first, b'\r' | b'\n') || is_token(&[*first]))
}

/// Returns the first line that is not empty, cut at [`SHOWN`] bytes.
fn first_line(bytes: &[u8]) -> &[u8] {
    let from = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let line = bytes[from..].split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    &line[..line.len().min(SHOWN)]
}

#[cfg(test)]
mod tests;
