//! Form uploads: `multipart/form-data`, read part by part as they arrive (RFC 7578, RFC 2046 §5.1).

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read, Write};

use crate::{Body, Error};

/// The most bytes of the fields of one part.
const FIELDS: usize = 8 << 10;

/// The most parts of one body: a form has few, but a client could send millions of empty ones.
const PARTS: usize = 1000;

/// The size of one read in bytes.
const PIECE: usize = 8 << 10;

/// The longest boundary (RFC 2046 §5.1.1).
const BOUNDARY: usize = 70;

/// The parts of a body, one after the other. A part is not stored after it was read.
///
/// ```
/// use portcullis_guest::{Error, Request};
///
/// fn upload(request: &mut Request) -> Result<(String, u64), Error> {
///     let (mut title, mut size) = (String::new(), 0);
///     let mut parts = request.multipart()?;
///     while let Some(mut part) = parts.next_part()? {
///         match part.name() {
///             "title" => title = part.read_text(1000)?,
///             "file" => size = part.copy_to(&mut std::io::sink(), 10 << 20)?,
///             _ => {}
///         }
///     }
///     Ok((title, size))
/// }
///
/// let body = "--x\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nA day\r\n\
///             --x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n12345\r\n--x--\r\n";
/// let mut request =
///     Request::test("POST", "/").header("Content-Type", "multipart/form-data; boundary=x").body(body);
/// assert_eq!(upload(&mut request).unwrap(), ("A day".to_owned(), 5));
/// ```
pub struct Multipart<'r> {
    body: &'r mut Body,
    /// CR LF, two hyphens, and the boundary.
    delimiter: Vec<u8>,
    /// Bytes that were read from the body but not taken yet.
    buffer: Vec<u8>,
    at: usize,
    /// No delimiter starts before this index.
    clean: usize,
    parts: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Inside a part, or before the first one.
    Within,
    /// After a delimiter.
    Delimited,
    /// After the last delimiter.
    Ended,
}

/// One part. It is read as it arrives. Bytes that are not read are skipped.
pub struct Part<'m, 'r> {
    from: &'m mut Multipart<'r>,
    name: String,
    file_name: Option<String>,
    fields: Vec<(String, String)>,
}

impl<'r> Multipart<'r> {
    /// Starts to read a body of this content type.
    ///
    /// # Errors
    /// 415 if it has another type; 400 if the type has no boundary.
    pub(crate) fn new(body: &'r mut Body, content_type: &str) -> Result<Multipart<'r>, Error> {
        let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
            let message = format!("the body is {content_type:?}, and multipart/form-data is wanted");
            return Err(Error::unsupported_media_type(message));
        }
        let boundary = parameter(parameters, "boundary").unwrap_or_default();
        if !(1..=BOUNDARY).contains(&boundary.len()) {
            return Err(Error::bad_request("the body: its type names no boundary of 1 to 70 characters"));
        }
        let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        // The first delimiter may be at the very start of the body, without a CR LF before it.
        let (buffer, state) = (b"\r\n".to_vec(), State::Within);
        Ok(Multipart { body, delimiter, buffer, at: 0, clean: 0, parts: 0, state })
    }

    /// Returns the next part, or `None` after the last one.
    ///
    /// # Errors
    /// 400: the body is malformed, breaks off, has more than 1000 parts, or a part has more than 8 KiB of fields.
    pub fn next_part(&mut self) -> Result<Option<Part<'_, 'r>>, Error> {
        let mut passed = [0; PIECE];
        while self.state == State::Within {
            self.take(&mut passed).map_err(broken)?;
        }
        if self.state == State::Ended {
            return Ok(None);
        }
        self.parts += 1;
        if self.parts > PARTS {
            return Err(Error::bad_request(format!("the body has more than {PARTS} parts")));
        }
        let fields = self.fields()?;
        self.state = State::Within;
        let shown = fields.iter().find(|(name, _)| name == "content-disposition");
        let (kind, parameters) = shown.and_then(|(_, value)| value.split_once(';')).unwrap_or_default();
        let name = parameter(parameters, "name").filter(|_| kind.trim().eq_ignore_ascii_case("form-data"));
        let name = name.ok_or_else(|| Error::bad_request("the body: a part has no name"))?;
        let file_name = parameter(parameters, "filename");
        Ok(Some(Part { from: self, name, file_name, fields }))
    }

    /// Reads the fields of a part, up to the blank line.
    fn fields(&mut self) -> Result<Vec<(String, String)>, Error> {
        let mut fields = Vec::new();
        let mut taken = 0;
        loop {
            let line = self.line()?;
            taken += line.len() + 2;
            if taken > FIELDS {
                return Err(Error::bad_request(format!(
                    "the body: the fields of a part have more than {FIELDS} bytes"
                )));
            }
            if line.is_empty() {
                return Ok(fields);
            }
            let line = String::from_utf8_lossy(&line).into_owned();
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| Error::bad_request("the body: a part has a field without a colon"))?;
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Takes a line and removes its CR LF.
    fn line(&mut self) -> Result<Vec<u8>, Error> {
        loop {
            let rest = &self.buffer[self.at..];
            if let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
                let line = rest[..end].to_vec();
                self.at += end + 2;
                return Ok(line);
            }
            if rest.len() > FIELDS {
                return Err(Error::bad_request(format!(
                    "the body: the fields of a part have more than {FIELDS} bytes"
                )));
            }
            self.fill().map_err(broken)?;
        }
    }

    /// Takes bytes of a part. Returns 0 if a delimiter was next; it is taken as well.
    fn take(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.state != State::Within || buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.clean > self.at {
                let taken = (self.clean - self.at).min(buffer.len());
                buffer[..taken].copy_from_slice(&self.buffer[self.at..self.at + taken]);
                self.at += taken;
                return Ok(taken);
            }
            let rest = &self.buffer[self.at..];
            match find(rest, &self.delimiter) {
                Some(0) => match self.delimited()? {
                    Some((length, state)) => {
                        self.at += length;
                        self.state = state;
                        return Ok(0);
                    }
                    // A line of the content that starts like a delimiter.
                    None => self.clean = self.at + self.delimiter.len(),
                },
                Some(before) => self.clean = self.at + before,
                // A delimiter may start in the rest.
                None if rest.len() >= self.delimiter.len() => {
                    self.clean = self.at + rest.len() - (self.delimiter.len() - 1);
                }
                None => self.fill()?,
            }
        }
    }

    /// Parses bytes that start like a delimiter. Returns the length of the delimiter, including the end of its line,
    /// and the state after it. Returns `None` if the line goes on, and thus is content.
    fn delimited(&mut self) -> io::Result<Option<(usize, State)>> {
        let mut length = self.delimiter.len();
        loop {
            match &self.buffer[self.at + length..] {
                [b'-', b'-', ..] => return Ok(Some((length, State::Ended))),
                [b'\r', b'\n', ..] => return Ok(Some((length + 2, State::Delimited))),
                // RFC 2046 §5.1.1, transport-padding.
                [b' ' | b'\t', ..] if length < FIELDS => length += 1,
                [b'-' | b'\r'] | [] => self.fill()?,
                _ => return Ok(None),
            }
        }
    }

    /// Reads more of the body.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.at);
        (self.at, self.clean) = (0, 0);
        let before = self.buffer.len();
        self.buffer.resize(before + PIECE, 0);
        let read = loop {
            match self.body.read(&mut self.buffer[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        if read? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends before its last boundary"));
        }
        Ok(())
    }
}

impl Part<'_, '_> {
    /// Returns the name of the form's field.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the file name, if the part is a file. The client chose it: do not use it as a path.
    pub fn file_name(&self) -> Option<&str> {
        self.file_name.as_deref()
    }

    /// Returns the content type, if the client sent one.
    pub fn content_type(&self) -> Option<&str> {
        self.header("content-type")
    }

    /// Returns the value of a field of the part. The name is case-insensitive.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Copies the rest of the part to `out` as it arrives, up to `most` bytes, and returns the number of bytes.
    ///
    /// # Errors
    /// 413: the part is larger. 400: the body breaks off. 500: `out` fails.
    pub fn copy_to(&mut self, out: &mut impl Write, most: u64) -> Result<u64, Error> {
        let (mut piece, mut copied) = ([0; PIECE], 0);
        loop {
            let read = self.read(&mut piece).map_err(broken)?;
            if read == 0 {
                return Ok(copied);
            }
            copied += read as u64;
            if copied > most {
                return Err(self.too_large(most));
            }
            out.write_all(&piece[..read])?;
        }
    }

    fn too_large(&self, most: u64) -> Error {
        Error::new(413, format!("{}: more than {most} bytes", self.name))
    }

    /// Reads the rest of the part, up to `most` bytes.
    ///
    /// # Errors
    /// 413: the part is larger. 400: the body breaks off.
    pub fn read_bytes(&mut self, most: usize) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        let read =
            self.by_ref().take((most as u64).saturating_add(1)).read_to_end(&mut all).map_err(broken)?;
        if read > most {
            return Err(self.too_large(most as u64));
        }
        Ok(all)
    }

    /// Reads the rest of the part as text, up to `most` bytes.
    ///
    /// # Errors
    /// Those of [`read_bytes`](Part::read_bytes), and 400 if it is not UTF-8.
    pub fn read_text(&mut self, most: usize) -> Result<String, Error> {
        let bytes = self.read_bytes(most)?;
        String::from_utf8(bytes).map_err(|_| Error::bad_request(format!("{}: not UTF-8", self.name)))
    }
}

/// Reads the part as it arrives.
impl Read for Part<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.from.take(buffer)
    }
}

impl fmt::Debug for Multipart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Multipart({} parts so far)", self.parts)
    }
}

impl fmt::Debug for Part<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({:?}, file {:?})", self.name, self.file_name)
    }
}

fn broken(error: io::Error) -> Error {
    Error::bad_request(format!("the body: {error}"))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Finds a parameter: `name=value` or `name="value"`. A quote in a name is written as `%22` by browsers, and as `\"`
/// by other clients.
fn parameter(parameters: &str, wanted: &str) -> Option<String> {
    let mut rest = parameters;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        let (name, after) = rest.split_once('=')?;
        let (value, behind) = match after.strip_prefix('"') {
            None => {
                let (value, behind) = after.split_once(';').unwrap_or((after, ""));
                (value.trim().to_owned(), behind)
            }
            Some(quoted) => {
                let (mut value, mut letters) = (String::new(), quoted.char_indices());
                let end = loop {
                    match letters.next()? {
                        (at, '"') => break at + 1,
                        (_, '\\') if quoted[letters.offset()..].starts_with(['"', '\\']) => {
                            value.push(letters.next()?.1);
                        }
                        (_, letter) => value.push(letter),
                    }
                };
                (value, &quoted[end..])
            }
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value.replace("%22", "\""));
        }
        rest = behind;
    }
}
