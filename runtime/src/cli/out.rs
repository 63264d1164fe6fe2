//! Output of verbs on stdout and stderr, and what happens if stdout is closed or full.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;

use crate::observe::log;
use crate::observe::plain;

/// The state of stdout.
static STATE: AtomicU8 = AtomicU8::new(OPEN);

/// Writes succeed, as far as is known.
const OPEN: u8 = 0;
/// The reader has gone, as in `portcullis handlers | head -1`. The rest is not printed, which is no failure.
const GONE: u8 = 1;
/// A write failed, as on a full disk.
const FAILED: u8 = 2;

/// Prints a line for people.
pub(super) fn say(line: &str) {
    print(format!("{line}\n").as_bytes());
}

/// Prints bytes. The first failure is reported; all are remembered.
pub(super) fn print(bytes: &[u8]) {
    if STATE.load(Ordering::Relaxed) == OPEN {
        let mut out = io::stdout().lock();
        // The verb goes on after a failure. `outcome` then sets its exit status.
        let _noted = noted(out.write_all(bytes).and_then(|()| out.flush()));
    }
}

/// Remembers the outcome of a write to stdout, and returns it.
pub(super) fn noted(written: io::Result<()>) -> io::Result<()> {
    if let Err(error) = &written {
        let state = if error.kind() == io::ErrorKind::BrokenPipe { GONE } else { FAILED };
        let known = STATE.fetch_max(state, Ordering::Relaxed);
        if state == FAILED && known < FAILED {
            complain(&format!("stdout cannot be written: {error}"));
        }
    }
    written
}

/// Returns `true` while all output could be printed.
pub(super) fn is_open() -> bool {
    STATE.load(Ordering::Relaxed) == OPEN
}

/// Returns the exit status of a verb: 1 if its output could not be printed.
pub(super) fn outcome(ended: ExitCode) -> ExitCode {
    if STATE.load(Ordering::Relaxed) == FAILED { ExitCode::FAILURE } else { ended }
}

/// Waits until the reader of stdout has gone. Pending for a stdout without a reader, such as a file.
///
/// # Cancel safety
/// If the future is dropped, its thread stays until the process ends.
pub(super) async fn reader_gone() {
    let (told, gone) = oneshot::channel();
    let watch = move || {
        let out = io::stdout();
        // No events are requested: poll(2) always reports errors, and a pipe without a reader is one.
        let mut polled = [PollFd::new(&out, PollFlags::empty())];
        loop {
            match poll(&mut polled, None) {
                Err(Errno::INTR) => {}
                Ok(_) if polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) => break,
                Ok(_) | Err(_) => return,
            }
        }
        // The receiver may be gone with the verb.
        let _ended = told.send(());
    };
    let watched = std::thread::Builder::new().name("stdout".to_owned()).spawn(watch);
    if watched.is_err() || gone.await.is_err() {
        // The next write reports the failure.
        std::future::pending::<()>().await;
    }
}

/// Prints an error for people on stderr, escaped, because it may contain text of a guest.
pub(super) fn complain(line: &str) {
    let priority = log::priority(tracing::Level::ERROR);
    let _gone = writeln!(io::stderr(), "{priority}portcullis: {}", plain(line));
}

/// Prints help, a version, or an error about the arguments.
pub(super) fn usage(told: &clap::Error) -> ExitCode {
    // In colour if the output is a terminal.
    let shown = told.print();
    if told.use_stderr() {
        return ExitCode::from(2);
    }
    // `noted` remembers a failure.
    let _told = noted(shown);
    outcome(ExitCode::SUCCESS)
}
