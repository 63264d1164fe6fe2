//! Sends the request body back as it arrives, or lists the environment variables of a request.

use portcullis_guest::{Body, Request, Response, serve};
use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    serve(answer)
}

fn answer(request: Request) -> Response {
    match request.method() {
        "GET" | "HEAD" => Response::text(listed(std::env::vars_os())),
        _ => mirrored(request),
    }
}

/// Returns the body with the content type of the request.
fn mirrored(request: Request) -> Response {
    let content_type = request.header("content-type").unwrap_or("application/octet-stream").to_owned();
    let mut body: Body = request.into_body();
    // Read before the head is sent, since a client that expects `100 Continue` no longer gets it afterwards. An
    // error in the body is reported by the copying below.
    let _first_piece_or_error = body.fill_buf().map(<[u8]>::len);
    // A browser must not render the bytes of another site as a page of ours.
    Response::stream(&content_type, move |out| copy_as_it_comes(&mut body, out))
        .header("X-Content-Type-Options", "nosniff")
}

/// Passes on every piece as soon as it is read. Uses one buffer, whatever the length of the body.
fn copy_as_it_comes(from: &mut impl BufRead, to: &mut dyn Write) -> io::Result<()> {
    loop {
        let length = match from.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(piece) => {
                to.write_all(piece)?;
                piece.len()
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        from.consume(length);
        to.flush()?;
    }
}

/// Lists variables as `NAME=value` lines, sorted by name.
fn listed(vars: impl Iterator<Item = (OsString, OsString)>) -> String {
    let mut lines: Vec<String> = vars
        .map(|(name, value)| format!("{}={}\n", name.to_string_lossy(), value.to_string_lossy()))
        .collect();
    lines.sort();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Read};
    use std::sync::mpsc;

    /// Yields one piece for each read, after the reader of the echo has asked for it.
    struct Turns(mpsc::Receiver<&'static [u8]>);

    impl Read for Turns {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let piece = self.0.recv().unwrap_or_default();
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    /// Sends the next piece only after the previous one was flushed.
    struct Asking(mpsc::Sender<&'static [u8]>, Vec<&'static [u8]>, Vec<u8>);

    impl Write for Asking {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.2.extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            let next = self.1.pop().unwrap_or_default();
            self.0.send(next).map_err(io::Error::other)
        }
    }

    #[test]
    fn the_first_byte_is_out_before_the_last_is_in() {
        let (sender, receiver) = mpsc::channel();
        sender.send(b"one ".as_slice()).unwrap();
        let mut out = Asking(sender, vec![b"three".as_slice(), b"two ".as_slice()], Vec::new());

        copy_as_it_comes(&mut BufReader::new(Turns(receiver)), &mut out).unwrap();

        assert_eq!(out.2, b"one two three");
    }

    #[test]
    fn a_body_keeps_its_type_and_bytes() {
        let request =
            Request::test("POST", "/echo").header("Content-Type", "image/x-odd").body(b"\0\xff\r\n\r\n");

        let response = answer(request);

        assert_eq!(response.field("content-type"), Some("image/x-odd"));
        assert_eq!(response.into_bytes(), b"\0\xff\r\n\r\n");
    }

    #[test]
    fn variables_are_listed_in_order() {
        let vars = [("PATH_INFO", "/b"), ("HTTP_HOST", "a")].map(|(name, value)| (name.into(), value.into()));

        assert_eq!(listed(vars.into_iter()), "HTTP_HOST=a\nPATH_INFO=/b\n");
    }
}
