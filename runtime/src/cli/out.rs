//! What verbs print on stdout and stderr, and what becomes of it where nobody reads or nothing can be written.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;

use crate::observe::log;
use crate::observe::plain;

/// What has become of stdout.
static STATE: AtomicU8 = AtomicU8::new(OPEN);

/// It can be written to, as far as is known.
const OPEN: u8 = 0;
/// Its reader has gone, as in `portcullis handlers | head -1`: the rest is not printed, which is no failure.
const GONE: u8 = 1;
/// It cannot be written, as on a disk that is full.
const FAILED: u8 = 2;

/// Prints a line for a person.
pub(super) fn say(line: &str) {
    print(format!("{line}\n").as_bytes());
}

/// Prints bytes. What fails is noted, and told the first time.
pub(super) fn print(bytes: &[u8]) {
    if STATE.load(Ordering::Relaxed) == OPEN {
        let mut out = io::stdout().lock();
        // A verb that goes on has printed what it could; how it ends, `outcome` says.
        let _noted = noted(out.write_all(bytes).and_then(|()| out.flush()));
    }
}

/// Notes the outcome of a write to stdout, and returns it.
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

/// Reports whether all that was printed so far could be.
pub(super) fn is_open() -> bool {
    STATE.load(Ordering::Relaxed) == OPEN
}

/// Returns the exit status of a verb: 1 where it could not print what it had to.
pub(super) fn outcome(ended: ExitCode) -> ExitCode {
    if STATE.load(Ordering::Relaxed) == FAILED { ExitCode::FAILURE } else { ended }
}

/// Waits until the reader of stdout has gone; pending where it has none that could, as with a file.
///
/// # Cancel safety
/// A wait that is dropped leaves its thread to the end of the process.
pub(super) async fn reader_gone() {
    let (told, gone) = oneshot::channel();
    let watch = move || {
        let out = io::stdout();
        // Of no events: poll(2) tells of errors in any case, and a pipe without a reader is one.
        let mut polled = [PollFd::new(&out, PollFlags::empty())];
        loop {
            match poll(&mut polled, None) {
                Err(Errno::INTR) => {}
                Ok(_) if polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) => break,
                Ok(_) | Err(_) => return,
            }
        }
        // A verb that has ended is not told.
        let _ended = told.send(());
    };
    let watched = std::thread::Builder::new().name("stdout".to_owned()).spawn(watch);
    if watched.is_err() || gone.await.is_err() {
        // The next write will tell.
        std::future::pending::<()>().await;
    }
}

/// Prints an error for a person on stderr, which may have words of a guest in it.
pub(super) fn complain(line: &str) {
    let priority = log::priority(tracing::Level::ERROR);
    let _gone = writeln!(io::stderr(), "{priority}portcullis: {}", plain(line));
}

/// Shows help, a version, or what is wrong with the words of the command.
pub(super) fn usage(told: &clap::Error) -> ExitCode {
    // With its colours, where it is for a terminal.
    let shown = told.print();
    if told.use_stderr() {
        return ExitCode::from(2);
    }
    // What fails is noted there.
    let _told = noted(shown);
    outcome(ExitCode::SUCCESS)
}
