//! The request body, read as it arrives.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Stdin};

/// The request body.
///
/// Nothing is read ahead: a handler that reads slowly slows its client down, and a handler that reads nothing
/// costs nothing. A handler need not read to the end. `Body` is [`Send`], because asynchronous libraries need
/// that.
pub struct Body(Source);

enum Source {
    /// The stdin of this process, not opened yet.
    Unopened,
    // Not locked, since a lock cannot move to another thread. Large reads bypass the buffer of the standard
    // library.
    Stdin(BufReader<Stdin>),
    Given(io::Cursor<Vec<u8>>),
}

impl Body {
    pub(crate) fn of_this_process() -> Body {
        Body(Source::Unopened)
    }

    fn source(&mut self) -> &mut dyn BufRead {
        if let Source::Unopened = self.0 {
            self.0 = Source::Stdin(BufReader::new(io::stdin()));
        }
        match &mut self.0 {
            Source::Stdin(stdin) => stdin,
            Source::Given(bytes) => bytes,
            Source::Unopened => unreachable!("it was opened above"),
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body(Source::Given(io::Cursor::new(bytes)))
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source().read(buffer)
    }

    fn read_to_end(&mut self, all: &mut Vec<u8>) -> io::Result<usize> {
        self.source().read_to_end(all)
    }
}

impl BufRead for Body {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.source().fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.source().consume(bytes);
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::Unopened | Source::Stdin(_) => "Body(stdin)",
            Source::Given(_) => "Body(given)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_can_be_given_to_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<Body>();

        let body = Body::from(b"sent".to_vec());
        let read = std::thread::spawn(move || io::read_to_string(body).unwrap());

        assert_eq!(read.join().unwrap(), "sent");
    }

    #[test]
    fn a_body_is_read_in_parts_and_to_its_end() {
        let mut body = Body::from(b"one\ntwo\nthree".to_vec());
        let (mut line, mut rest) = (String::new(), Vec::new());

        body.read_line(&mut line).unwrap();
        body.read_to_end(&mut rest).unwrap();

        assert_eq!((line.as_str(), rest.as_slice()), ("one\n", &b"two\nthree"[..]));
    }
}
