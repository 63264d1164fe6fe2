//! What a client of HTTP/1 sends, checked byte for byte before hyper reads it.
//!
//! hyper takes what it can make sense of: a line that ends with a bare LF, a length beside chunks, a
//! length said twice. A server in front of us may make another sense of it, and then the two disagree
//! about where a request ends. So every message is followed to its end here, by the letter of RFC 9112;
//! what differs from it ends the connection. Bytes are looked at where they lie: only a line that
//! arrives in pieces is put together.

use std::mem;

use memchr::memchr;

use super::error::Refusal;

/// How large a head may be, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// All of it.
    pub(super) head: usize,
    /// The request target.
    pub(super) target: usize,
    /// The number of fields.
    pub(super) fields: usize,
}

/// Follows the messages of one connection.
pub(super) struct Framing {
    bounds: Bounds,
    at: At,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    head: Head,
    /// Heads that were whole and good.
    heads: u64,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    /// A request line, or the one empty line that may stand before it (RFC 9112 §2.2).
    Start,
    Fields,
    /// This many bytes of a body.
    Body(u64),
    /// The size of a chunk.
    Size,
    /// This many bytes of a chunk.
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    Trailers,
}

/// What is known of the head that is being read.
#[derive(Default)]
struct Head {
    /// Bytes of it, or of the trailers; without the line that is being read.
    size: usize,
    fields: usize,
    /// Whether an empty line stood before it.
    after_blank: bool,
    is_1_0: bool,
    length: Option<u64>,
    is_chunked: bool,
    /// Whether it asks for another protocol.
    asks_to_switch: bool,
}

/// How far a look at some bytes has come.
pub(super) enum Passed {
    /// All of them are as they should be.
    All,
    /// So many are; then a message has ended that may have ended HTTP as well.
    UpTo(usize),
}

/// Bytes that are not HTTP/1.1.
pub(super) struct Breach {
    /// How many bytes before them hyper may have.
    pub(super) good: usize,
    /// Whether they are a head's, which nobody has seen, or a body's, which somebody may be reading.
    pub(super) of: Part,
    pub(super) refusal: Refusal,
}

/// The part of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Head,
    Body,
}

/// The most bytes of the line that says how long a chunk is: extensions have no use.
const CHUNK_LINE: usize = 1024;

impl Framing {
    pub(super) fn new(bounds: Bounds) -> Framing {
        Framing { bounds, at: At::Start, line: Vec::new(), head: Head::default(), heads: 0 }
    }

    /// Says how many heads were whole and good.
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// Follows the next bytes.
    ///
    /// # Errors
    /// They are not HTTP/1.1, or too many.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Passed, Breach> {
        let mut next = 0;
        // Where the message begins that is being read.
        let mut begun = 0;
        while next < bytes.len() {
            let (rest, of) = (&bytes[next..], self.part());
            let taken = match self.at {
                At::Body(_) | At::Chunk(_) => Ok(self.skip(rest)),
                At::Start | At::Fields | At::Size | At::ChunkEnd | At::Trailers => self.take_line(rest),
            };
            next += taken.map_err(|refusal| Breach {
                good: if of == Part::Head { begun } else { next },
                of,
                refusal,
            })?;
            if self.at == At::Start && self.head.fields > 0 {
                // The message is whole.
                begun = next;
                if mem::take(&mut self.head).asks_to_switch {
                    return Ok(Passed::UpTo(next));
                }
            }
        }
        Ok(Passed::All)
    }

    /// Passes over what is left of a body or chunk; returns how many bytes that are here.
    fn skip(&mut self, rest: &[u8]) -> usize {
        let (At::Body(left) | At::Chunk(left)) = self.at else { return 0 };
        let skipped = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
        self.at = match (self.at, left - skipped as u64) {
            (At::Body(_), 0) => At::Start,
            (At::Body(_), left) => At::Body(left),
            (_, 0) => At::ChunkEnd,
            (_, left) => At::Chunk(left),
        };
        skipped
    }

    fn part(&self) -> Part {
        match self.at {
            At::Start | At::Fields => Part::Head,
            At::Body(_) | At::Size | At::Chunk(_) | At::ChunkEnd | At::Trailers => Part::Body,
        }
    }

    /// Takes a line, or the beginning of one; returns how many bytes that is.
    fn take_line(&mut self, rest: &[u8]) -> Result<usize, Refusal> {
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
            let mut line = mem::take(&mut self.line);
            line.extend_from_slice(whole);
            self.look_at(&line)?;
            line.clear();
            self.line = line;
        }
        Ok(whole.len())
    }

    /// Checks how long a line, or what there is of it, makes the whole.
    fn check_size(&self, line: usize) -> Result<(), Refusal> {
        // The longest method and the version of a request line leave this much beside the target.
        const BESIDE: usize = 64;
        match self.at {
            At::Start if line > self.bounds.target + BESIDE => {
                Err(Refusal::TargetTooLong(self.bounds.target))
            }
            At::Size | At::ChunkEnd if line > CHUNK_LINE => {
                Err(malformed("the line before a chunk is too long"))
            }
            _ if self.head.size + line > self.bounds.head => {
                Err(Refusal::HeadTooLarge(format!("more than {} bytes", self.bounds.head)))
            }
            _ => Ok(()),
        }
    }

    /// Takes a whole line, with its end.
    fn look_at(&mut self, whole: &[u8]) -> Result<(), Refusal> {
        let Some(line) = whole.strip_suffix(b"\r\n") else {
            return Err(malformed("a line that does not end with CR LF"));
        };
        if has_control(line) {
            return Err(malformed("a control character"));
        }
        match self.at {
            At::Start => {
                self.head.size += whole.len();
                if line.is_empty() && !mem::replace(&mut self.head.after_blank, true) {
                    return Ok(());
                }
                self.request_line(line)?;
                self.at = At::Fields;
            }
            At::Fields => {
                self.head.size += whole.len();
                match line {
                    [] => {
                        self.at = self.after_head()?;
                        self.heads += 1;
                    }
                    line => self.field(line)?,
                }
            }
            At::Size => {
                self.at = match chunk_size(line).ok_or_else(|| malformed("no size of a chunk"))? {
                    0 => {
                        self.head.size = 0;
                        At::Trailers
                    }
                    size => At::Chunk(size),
                };
            }
            At::ChunkEnd if line.is_empty() => self.at = At::Size,
            At::ChunkEnd => return Err(malformed("a chunk that is longer than its size")),
            At::Trailers => {
                self.head.size += whole.len();
                match line {
                    [] => self.at = At::Start,
                    line => drop(split(line)?),
                }
            }
            At::Body(_) | At::Chunk(_) => {}
        }
        Ok(())
    }

    /// RFC 9112 §3: a method, a target and a version, with one space between.
    fn request_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed("no request line: METHOD TARGET HTTP/1.1"));
        };
        self.head.is_1_0 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ if version.starts_with(b"HTTP/") => return Err(Refusal::Version),
            _ => return Err(malformed("no request line: METHOD TARGET HTTP/1.1")),
        };
        if !is_token(method) {
            return Err(malformed("a method that is no token"));
        }
        if target.len() > self.bounds.target {
            return Err(Refusal::TargetTooLong(self.bounds.target));
        }
        // hyper ends HTTP after a CONNECT, so that what follows could not be followed.
        if method == b"CONNECT" {
            return Err(Refusal::Unsupported("CONNECT and TRACE"));
        }
        // A fragment is the client's own (RFC 9112 §3.2); a tab is no part of a target.
        if target.iter().any(|byte| matches!(byte, b'#' | b'\t')) {
            return Err(malformed("a target with a fragment or a tab in it"));
        }
        let is_absolute = |scheme: &[u8]| {
            target.get(..scheme.len()).is_some_and(|front| front.eq_ignore_ascii_case(scheme))
        };
        let is_target = match target {
            [b'/', ..] => true,
            b"*" => method == b"OPTIONS",
            _ => is_absolute(b"http://") || is_absolute(b"https://"),
        };
        if is_target { Ok(()) } else { Err(malformed("a target that is neither a path nor a URL")) }
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Refusal> {
        self.head.fields += 1;
        if self.head.fields > self.bounds.fields {
            return Err(Refusal::HeadTooLarge(format!("more than {} header fields", self.bounds.fields)));
        }
        let (name, value) = split(line)?;
        match name.len() {
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.head.asks_to_switch = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                // RFC 9112 §6.3 lets equal ones pass for one; nobody has to send two.
                if self.head.length.is_some() {
                    return Err(malformed("more than one Content-Length"));
                }
                let length =
                    number(value, 10).ok_or_else(|| malformed("a Content-Length that is no number"))?;
                self.head.length = Some(length);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.head.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::Unsupported("a transfer coding other than one `chunked`"));
                }
                self.head.is_chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Says what comes behind a head.
    fn after_head(&mut self) -> Result<At, Refusal> {
        let Head { length, is_chunked, is_1_0, .. } = self.head;
        // A head without fields is refused for its missing Host, but it is a head.
        self.head.fields = self.head.fields.max(1);
        match (length, is_chunked) {
            // RFC 9112 §6.1: this is how requests are smuggled.
            (Some(_), true) => Err(malformed("both Content-Length and Transfer-Encoding")),
            (None, true) if is_1_0 => Err(malformed("HTTP/1.0 with Transfer-Encoding")),
            (None, true) => Ok(At::Size),
            (None | Some(0), false) => Ok(At::Start),
            (Some(length), false) => Ok(At::Body(length)),
        }
    }
}

fn malformed(what: &str) -> Refusal {
    Refusal::Malformed(what.to_owned())
}

/// Splits a field into its name and its value, without the space around.
fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    // RFC 9112 §5.2: a field that goes on in the next line is long obsolete.
    if matches!(line, [b' ' | b'\t', ..]) {
        return Err(malformed("a header field that begins with a space"));
    }
    let colon = memchr(b':', line).ok_or_else(|| malformed("a header field without a colon"))?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    // RFC 9112 §5.1: a space before the colon as well.
    if is_token(name) {
        Ok((name, value.trim_ascii()))
    } else {
        Err(malformed("a header field whose name is no token"))
    }
}

/// Reads digits of this base, and nothing else.
fn number(text: &[u8], base: u32) -> Option<u64> {
    let digits =
        str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u64::from_str_radix(digits, base).ok()
}

/// Reads the size of a chunk; what extensions say is ignored (RFC 9112 §7.1.1).
fn chunk_size(line: &[u8]) -> Option<u64> {
    let size = line.split(|byte| *byte == b';').next()?;
    number(size, 16)
}

/// Reports whether a line holds a control character other than a tab. No branch for each byte: this is
/// to be done for many of them at once.
fn has_control(line: &[u8]) -> bool {
    line.iter().fold(false, |found, &byte| found | (((byte < b' ') & (byte != b'\t')) | (byte == 0x7f)))
}

/// Reports whether a text is a token (RFC 9110 §5.6.2).
fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().fold(true, |all, &byte| all & TOKEN[usize::from(byte)])
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128u8 {
        let special = matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        table[byte as usize] = byte.is_ascii_alphanumeric() || special;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests;
