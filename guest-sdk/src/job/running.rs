//! A running job: its stdin, its stdout, and its end.

use std::fmt;
use std::io::{self, Read, Write};

use super::sys::{Handle, Ready};
use super::{JobError, JobErrorKind, JobStatus};

/// The size of a piece of stdin that is read ahead for a job, in bytes.
const PIECE: usize = 16 << 10;

/// A running job. Dropping it ends the job.
///
/// Reading returns the job's stdout. Writing goes to its stdin, unless
/// [`Job::stdin`](super::Job::stdin) was set. That input is passed on whenever this process reads or
/// waits. Both block like pipes; the time does not count as this process's CPU time.
pub struct Running<'io> {
    handle: Handle,
    feed: Option<Feed<'io>>,
}

/// The input of a job that was set in advance.
struct Feed<'io> {
    from: Box<dyn Read + 'io>,
    piece: Vec<u8>,
    /// The number of bytes of the piece that are written.
    written: usize,
}

impl<'io> Running<'io> {
    pub(super) fn new(handle: Handle, stdin: Option<Box<dyn Read + 'io>>) -> Running<'io> {
        Running { handle, feed: stdin.map(|from| Feed { from, piece: Vec::new(), written: 0 }) }
    }

    /// Closes the job's stdin. Has no effect if [`Job::stdin`](super::Job::stdin) was set: then stdin
    /// ends with that input. A second call does nothing.
    pub fn close(&mut self) {
        if self.feed.is_none() {
            self.handle.close();
        }
    }

    /// Closes the job's stdin and waits for the job. Unread stdout is discarded: read it first.
    ///
    /// # Errors
    /// The job did not run, or its stdin could not be read.
    pub fn wait(mut self) -> Result<JobStatus, JobError> {
        if self.feed.is_some() {
            io::copy(&mut self, &mut io::sink())?;
        }
        self.handle.wait()
    }

    /// Passes a piece of input on to the job.
    fn pump(&mut self) -> io::Result<()> {
        let Some(feed) = &mut self.feed else { return Ok(()) };
        if feed.written == feed.piece.len() {
            feed.piece.resize(PIECE, 0);
            let read = feed.from.read(&mut feed.piece)?;
            feed.piece.truncate(read);
            feed.written = 0;
        }
        if feed.piece.is_empty() {
            self.feed = None;
            self.handle.close();
            return Ok(());
        }
        match self.handle.write(&feed.piece[feed.written..]) {
            Ok(written) => feed.written += written,
            // A job need not read all of its stdin, as in `yes | head`.
            Err(error) if error.kind() == JobErrorKind::NotRead => {
                self.feed = None;
                self.handle.close();
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

impl Read for Running<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.feed.is_some() {
            match self.handle.poll()? {
                Ready { read: true, .. } => break,
                Ready { read: false, .. } => self.pump()?,
            }
        }
        Ok(self.handle.read(buffer)?)
    }
}

impl Write for Running<'_> {
    /// Waits until the job takes at least one byte.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.feed.is_some() {
            let taken = "the job reads what it was given with `stdin`: leave that out to write to it";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, taken));
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        Ok(self.handle.write(bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Running<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.feed.is_some() { "Running(fed)" } else { "Running" })
    }
}
