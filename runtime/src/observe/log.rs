//! The log: lines on stderr that never make the daemon wait.

use std::io::IsTerminal as _;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

/// How much is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// What an operator wants to know.
    Normal,
    /// Every job and every connection too.
    Debug,
}

/// Keeps the log's writer alive. Dropping it writes what is still queued.
pub struct Log(#[expect(dead_code, reason = "held for its Drop")] WorkerGuard);

/// Lines that may wait to be written; one more is dropped, so that a stalled reader of our stderr
/// stalls nobody.
const QUEUE: usize = 64 << 10;

/// Starts logging to stderr. `PORTCULLIS_LOG` overrides the level with a filter such as
/// `portcullis::net=debug`; journald, which stamps lines itself, gets no time.
///
/// # Errors
/// Logging was started before, or the filter cannot be read.
pub fn start(level: Level) -> anyhow::Result<Log> {
    let default = match level {
        Level::Normal => "portcullis=info,warn",
        Level::Debug => "portcullis=debug,info",
    };
    let filter = match std::env::var("PORTCULLIS_LOG") {
        Ok(filter) => EnvFilter::try_new(&filter).map_err(|error| {
            anyhow::anyhow!("PORTCULLIS_LOG={filter:?}: {error}; write LEVEL or MODULE=LEVEL")
        })?,
        Err(_) => EnvFilter::new(default),
    };
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(QUEUE).lossy(true).finish(std::io::stderr());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // Set by systemd for services whose stderr goes to the journal, systemd.exec(5).
    let started = if std::env::var_os("JOURNAL_STREAM").is_some() {
        lines.without_time().try_init()
    } else {
        lines.try_init()
    };
    started.map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(Log(guard))
}

/// Writes the time as the log does: RFC 3339, UTC, microseconds.
pub fn now() -> String {
    let mut text = String::new();
    // A string takes everything.
    let _infallible = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}
