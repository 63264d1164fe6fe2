//! The stdout of this process, without the line buffer of the standard library.
//!
//! That buffer would write a head and its body in two system calls, unless the body ends with a
//! line break. Here, one `write` is one system call.

use std::io::{self, Write};

/// The writer for the response.
pub(crate) struct Stdout {
    raw: Raw,
    broken: bool,
}

impl Stdout {
    pub(crate) fn new() -> Stdout {
        Stdout { raw: raw(), broken: false }
    }

    /// Reports whether a write has failed.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = self.raw.write(bytes);
        self.broken |= matches!(&outcome, Err(error) if error.kind() != io::ErrorKind::Interrupted);
        outcome
    }

    fn flush(&mut self) -> io::Result<()> {
        self.raw.flush()
    }
}

#[cfg(any(unix, target_os = "wasi"))]
type Raw = std::mem::ManuallyDrop<std::fs::File>;

#[cfg(any(unix, target_os = "wasi"))]
fn raw() -> Raw {
    use std::os::fd::FromRawFd as _;
    // SAFETY: descriptor 1 is open from the start of the process to its end: nothing here closes
    // it, and `ManuallyDrop` keeps `File` from closing it.
    std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(1) })
}

#[cfg(not(any(unix, target_os = "wasi")))]
type Raw = io::Stdout;

#[cfg(not(any(unix, target_os = "wasi")))]
fn raw() -> Raw {
    io::stdout()
}
