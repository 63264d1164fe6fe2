//! Writes a response as a CGI document: fields, a blank line, the body (RFC 3875 §6).

use std::fmt;
use std::io::{self, Read, Write};

use crate::Response;
use crate::response::Content;

/// The largest body that is sent in one write with its head: the default capacity of a pipe, Linux
/// pipe(7).
const TOGETHER: usize = 64 * 1024;

/// Writes a response as [`serve`](crate::serve) does: for tests that check every byte.
///
/// A body of known length gets a `Content-Length`. A small body is sent in one write with its head.
///
/// # Errors
/// The writer fails, or the stream or reader of the body fails.
pub fn write_document(response: Response, out: &mut dyn Write) -> io::Result<()> {
    let mut document = head(&response);
    match response.into_content() {
        Content::Bytes(bytes) if bytes.len() <= TOGETHER => {
            document.extend_from_slice(&bytes);
            out.write_all(&document)?;
        }
        content => {
            out.write_all(&document)?;
            out.flush()?;
            content.send(out)?;
        }
    }
    out.flush()
}

fn head(response: &Response) -> Vec<u8> {
    let mut head = format!("Status: {}\n", response.status());
    for (name, value) in response.fields() {
        for part in [name, ": ", value, "\n"] {
            head.push_str(part);
        }
    }
    // RFC 9110 §8.6: a 204 must not have a length, and that of a 304 would describe a body that is
    // not sent.
    let has_body = !matches!(response.status(), 204 | 304);
    if let Content::Bytes(bytes) = response.content()
        && has_body
        && response.field("Content-Length").is_none()
    {
        head.push_str(&format!("Content-Length: {}\n", bytes.len()));
    }
    head.push('\n');
    head.into_bytes()
}

impl Content {
    /// Writes the body, piece by piece as it is produced.
    pub(crate) fn send(self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Content::Bytes(bytes) => out.write_all(&bytes),
            Content::Stream(write) => write(&mut Through(out)),
            Content::Reader(mut reader) => pass_on(&mut *reader, &mut Through(out)),
        }
    }
}

fn pass_on(reader: &mut dyn Read, out: &mut Through<'_>) -> io::Result<()> {
    let mut buffer = vec![0; TOGETHER];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => out.write_all(&buffer[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A writer that flushes after every write.
struct Through<'w>(&'w mut dyn Write);

impl Write for Through<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.0.flush()?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    /// Sends a `write!` as one write instead of one for each of its pieces.
    fn write_fmt(&mut self, pieces: fmt::Arguments<'_>) -> io::Result<()> {
        if let Some(text) = pieces.as_str() {
            return self.write_all(text.as_bytes());
        }
        let mut text = String::new();
        fmt::Write::write_fmt(&mut text, pieces).map_err(io::Error::other)?;
        self.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Records every write on its own.
    #[derive(Default)]
    struct Writes(Vec<Vec<u8>>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn writes(response: Response) -> Vec<String> {
        let mut out = Writes::default();
        write_document(response, &mut out).unwrap();
        out.0.into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
    }

    #[test]
    fn a_small_response_is_one_write() {
        assert_eq!(
            writes(Response::text("hi").header("X-A", "b")),
            ["Status: 200\nContent-Type: text/plain; charset=utf-8\nX-A: b\nContent-Length: 2\n\nhi"]
        );
        assert_eq!(writes(Response::text("x".repeat(TOGETHER))).len(), 1);
        assert_eq!(writes(Response::text("x".repeat(TOGETHER + 1))).len(), 2);
    }

    #[test]
    fn a_status_without_a_body_has_no_length() {
        assert_eq!(writes(Response::no_content()), ["Status: 204\n\n"]);
        assert_eq!(writes(Response::new(304).header("ETag", "\"a\"")), ["Status: 304\nETag: \"a\"\n\n"]);
        assert_eq!(writes(Response::new(200)), ["Status: 200\nContent-Length: 0\n\n"]);
        assert_eq!(
            writes(Response::new(200).header("content-length", "7")),
            ["Status: 200\ncontent-length: 7\n\n"]
        );
    }

    #[test]
    fn every_write_of_a_stream_goes_out_by_itself() {
        let response = Response::stream("a/b", |out| {
            write!(out, "{}-{}", 1, 2)?;
            out.write_all(b"three")
        });
        assert_eq!(writes(response), ["Status: 200\nContent-Type: a/b\n\n", "1-2", "three"]);

        let response = Response::reader(io::Cursor::new("abc").chain(io::Cursor::new("def")));
        assert_eq!(writes(response)[1..], ["abc", "def"]);
    }

    #[test]
    fn a_stream_that_fails_is_not_whole() {
        let response = Response::stream("a/b", |_| Err(io::Error::other("broke")));
        assert_eq!(write_document(response, &mut io::sink()).unwrap_err().to_string(), "broke");
    }

    /// Reads a document by the rules of RFC 3875, independently of the code that wrote it.
    fn read(document: &[u8]) -> (u16, Vec<(String, String)>, Vec<u8>) {
        let end = document.windows(2).position(|pair| pair == b"\n\n").expect("a blank line");
        let head = std::str::from_utf8(&document[..end]).unwrap();
        let mut fields: Vec<(String, String)> = head
            .split('\n')
            .map(|line| line.split_once(':').expect("a colon"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
            .collect();
        let status = fields.iter().position(|(name, _)| name == "status").expect("a status");
        let status = fields.remove(status).1.parse().unwrap();
        assert!(fields.iter().all(|(name, value)| name != "status" && !value.contains(['\r', '\0'])));
        (status, fields, document[end + 2..].to_vec())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            status in 0..700_u16,
            added in prop::collection::vec(("[A-Za-z-]{1,6}|Content-Type|.{0,4}", "[ -~é\t]{0,8}|.{0,4}|a\r?\nb"), 0..6),
            body in prop::collection::vec(any::<u8>(), 0..32),
        ) {
            let response = Response::bytes("a/b", body).with_status(status);
            let response = added.iter().fold(response, |response, (name, value)| response.header(name, value));
            let meant: Vec<(String, String)> = response
                .fields()
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
                .collect();
            let status = response.status();
            let mut document = Vec::new();

            write_document(response, &mut document).unwrap();

            let (read_status, mut fields, read_body) = read(&document);
            prop_assert_eq!(read_status, status);
            if !matches!(status, 204 | 304) && fields.len() > meant.len() {
                let length = fields.pop();
                prop_assert_eq!(length, Some(("content-length".to_owned(), read_body.len().to_string())));
            }
            prop_assert_eq!(fields, meant);
        }
    }
}
