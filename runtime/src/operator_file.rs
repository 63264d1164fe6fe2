//! Reads a file that an operator names: whole, within a size limit, and without blocking.

use std::fmt;
use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// The content and metadata of a file.
#[derive(Debug)]
pub struct ReadFile {
    /// The content.
    pub bytes: Vec<u8>,
    /// The metadata, including owner and mode.
    pub metadata: Metadata,
}

/// Why a file cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// It is not a regular file, but this.
    NotAFile(&'static str),
    /// It is larger than this many bytes.
    TooLarge(u64),
    /// It does not exist, may not be read, or the disk fails.
    Unreadable(io::Error),
}

/// Reads a file of at most `max` bytes.
///
/// A file that is not regular is refused before a byte is read. A FIFO, a terminal or a socket delivers its bytes once
/// and at any time, but a reload reads again. A file that grows during the read is refused at the limit, and so is one
/// without an end, as in /proc.
///
/// # Errors
/// See [`ReadError`].
pub fn read(path: &Path, max: u64) -> Result<ReadFile, ReadError> {
    // Checked before opening, because opening a device may have an effect.
    regular(&path.metadata()?)?;
    // The path may lead to another file by now. Without NONBLOCK, open(2) would wait for the other end of a FIFO.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    regular(&metadata)?;
    if metadata.len() > max {
        return Err(ReadError::TooLarge(max));
    }
    let bytes = bounded(file, max)?;
    Ok(ReadFile { bytes, metadata })
}

/// Reads a text of at most `max` bytes.
///
/// # Errors
/// As [`read`]; also if the text is not UTF-8.
pub fn text(path: &Path, max: u64) -> Result<String, ReadError> {
    let ReadFile { bytes, .. } = read(path, max)?;
    String::from_utf8(bytes).map_err(|error| {
        ReadError::Unreadable(io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
    })
}

fn regular(found: &Metadata) -> Result<(), ReadError> {
    if found.is_file() { Ok(()) } else { Err(ReadError::NotAFile(kind(found.file_type()))) }
}

fn kind(found: FileType) -> &'static str {
    match found {
        found if found.is_dir() => "a directory",
        found if found.is_fifo() => "a FIFO",
        found if found.is_socket() => "a socket",
        _ => "a device",
    }
}

fn bounded(file: File, max: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max { Err(ReadError::TooLarge(max)) } else { Ok(bytes) }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Unreadable(error)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::NotAFile("a directory") => f.write_str("wanted a file, found a directory"),
            ReadError::NotAFile(what) => write!(
                f,
                "wanted a file, found {what}, which cannot be read again by a reload: write its content into a file"
            ),
            ReadError::TooLarge(max) if max % (1 << 20) == 0 => {
                write!(f, "it is larger than {} MiB, the most that is read", max >> 20)
            }
            ReadError::TooLarge(max) => {
                write!(f, "it is larger than {} KiB, the most that is read", max >> 10)
            }
            ReadError::Unreadable(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let ours = rustix::process::geteuid().as_raw();
                write!(
                    f,
                    "{error}: let user {ours} read it and enter its directories; a running daemon also needs it in hardening.reach"
                )
            }
            ReadError::Unreadable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::os::unix::net::UnixListener;

    fn refused(path: &Path) -> String {
        read(path, 1 << 10).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink("fifo", at("link")).unwrap();

        for (path, wanted) in [
            (at("fifo"), "found a FIFO, "),
            (at("link"), "found a FIFO, "),
            (at("socket"), "found a socket, "),
            ("/dev/zero".into(), "found a device, "),
            ("/dev/tty".into(), "found a device, "),
            (at(""), "found a directory"),
            (at("nothing"), "No such file"),
        ] {
            assert!(refused(&path).contains(wanted), "{}: {}", path.display(), refused(&path));
        }
    }

    #[test]
    fn the_bound_is_the_last_size_that_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, [b'x'; 1 << 10]).unwrap();
        assert_eq!(read(&path, 1 << 10).unwrap().bytes.len(), 1 << 10);

        std::fs::write(&path, [b'x'; (1 << 10) + 1]).unwrap();
        assert_eq!(refused(&path), "it is larger than 1 KiB, the most that is read");
        // stat(2) reports size 0 for it, but it is long.
        assert!(matches!(read(Path::new("/proc/self/smaps"), 100), Err(ReadError::TooLarge(100))));
    }
}
