//! The file of the access log: lines queued, written by a thread of its own, and reopened on request.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use arc_swap::ArcSwap;
use rustix::fs::OFlags;
use tracing::{error, info, warn};

use super::queue::Queue;
use super::write_failures::ACCESS_LOG;

/// A format of the access log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessLogFormat {
    /// The daemon's own text. Without a file, its lines are part of the log.
    Text,
    /// The Common Log Format of NCSA and Apache.
    Common,
    /// The same, with the `Referer` and `User-Agent` of the request.
    Combined,
    /// A JSON object a line.
    Json,
}

/// The file in use. It replaces the file that was open before a rotation.
struct AccessFile {
    path: PathBuf,
    file: ArcSwap<File>,
}

/// Lines that are not written yet.
static QUEUE: Queue = Queue::new();

static FILE: OnceLock<AccessFile> = OnceLock::new();

/// Opens the file, which is made with mode 0640 if it is missing. From here on, the access log goes there.
///
/// # Errors
/// The file cannot be opened, or there is a file already.
pub fn start(path: &Path) -> Result<()> {
    let file = ArcSwap::from_pointee(open(path)?);
    let file = AccessFile { path: path.to_owned(), file };
    ensure!(FILE.set(file).is_ok(), "the access log is open already");
    let write = || QUEUE.drain(AccessLineWriter);
    std::thread::Builder::new().name("access-log".to_owned()).spawn(write)?;
    Ok(())
}

/// Checks whether the file could be opened. Makes no file.
///
/// # Errors
/// The directory is missing or not writable, or the file is there and cannot be written, or is not a regular file.
pub fn examine(path: &Path) -> Result<()> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    let may = |path: &Path| accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS);
    let place = if path.exists() { path } else { path.parent().unwrap_or(path) };
    may(place).with_context(|| format!("{}: it cannot be written to", place.display()))?;
    ensure!(place != path || path.is_file(), "{} is not a regular file", path.display());
    Ok(())
}

/// Opens the file again at its path, as after a rotation, and returns the path. Lines that are queued go to the new
/// file. Blocks as long as the file system does.
///
/// # Errors
/// There is no file, or it cannot be opened. In the latter case the file before it stays.
pub fn reopen() -> Result<&'static Path> {
    let AccessFile { path, file } =
        FILE.get().context("the access log has no file: set access_log_file = \"PATH\"")?;
    file.store(Arc::new(open(path)?));
    Ok(path)
}

/// Opens the file again and logs the outcome.
pub fn reopen_logged() {
    match reopen() {
        Ok(path) => info!("reopened {}", path.display()),
        Err(refusal) => warn!("not reopened: {refusal:#}"),
    }
}

/// Reports whether the access log has a file.
pub fn is_open() -> bool {
    FILE.get().is_some()
}

/// Queues a line, which ends with a line break. Never blocks.
pub fn write(line: &str) {
    // The queue takes every line or counts it as dropped.
    let _queued = (&QUEUE).write(line.as_bytes());
}

/// Returns how many lines were dropped because the file was written too slowly.
pub fn dropped() -> u64 {
    QUEUE.dropped()
}

/// Waits until all lines are written, at most for `patience`.
pub(super) fn settle(patience: Duration) {
    QUEUE.settle(patience);
}

fn open(path: &Path) -> Result<File> {
    // 0640 is what Debian's logrotate rules for nginx and Apache create. A FIFO must not be waited for.
    let opened = File::options()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    let file = opened.with_context(|| format!("access_log_file: open {}", path.display()))?;
    let is_file = file.metadata().is_ok_and(|found| found.is_file());
    ensure!(is_file, "access_log_file: {} is not a regular file", path.display());
    Ok(file)
}

/// Writes lines to the file in use. A line that cannot be written is lost and counted.
struct AccessLineWriter;

impl Write for AccessLineWriter {
    /// Takes whole lines, as the queue passes them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(AccessFile { path, file }) = FILE.get() {
            match (&**file.load()).write_all(line) {
                Err(refusal) => {
                    if ACCESS_LOG.fail() {
                        error!("the access log {} cannot be written: {refusal}", path.display());
                    }
                }
                Ok(()) => {
                    if let Some(lost) = ACCESS_LOG.succeed() {
                        warn!("the access log is written again; {lost} lines are lost");
                    }
                }
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
