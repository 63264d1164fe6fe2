//! The log: lines on stderr, queued so that the daemon never waits for a reader.

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd;
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rustix::fs::fstat;
use serde_json::json;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Format, Full, Writer, debug_fn};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{MakeWriter, format};

use super::log_format::{EventFormat, LogFormat, shown};
use super::queue::Queue;
use super::write_failures::LOG;
use super::{access_file, log_filter};

pub use super::log_format::now;

/// The log level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// Events that an operator needs.
    Normal,
    /// Also every job and every connection.
    Debug,
}

/// The guard of the running log. Dropping it writes the queued lines, within a deadline.
pub struct Log(());

/// How long writing the last lines may take.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Lines that are not written yet.
static QUEUE: Queue = Queue::new();

impl Drop for Log {
    fn drop(&mut self) {
        access_file::settle(LAST_LINES);
        QUEUE.settle(LAST_LINES);
    }
}

/// Returns how many lines of the log and of the access log were dropped because they were read or written too slowly.
pub fn dropped() -> u64 {
    QUEUE.dropped() + access_file::dropped()
}

/// Writes lines. A line that cannot be written is lost and counted. Once writing works again, the log says how many
/// were lost.
struct LineWriter<W>(W);

impl<W: Write> Write for LineWriter<W> {
    /// Takes whole lines, as the queue passes them.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        match self.0.write_all(lines) {
            Err(_) => drop(LOG.fail()),
            Ok(()) => {
                if let Some(lost) = LOG.succeed() {
                    let _lost_as_well = self.0.write_all(lost_lines(LogFormat::current(), lost).as_bytes());
                }
            }
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Makes the line that says how many lines before it are lost. It is written directly: an event would come behind all
/// lines of the queue.
fn lost_lines(format: LogFormat, lost: u64) -> String {
    let message = format!("{lost} lines before this one are lost: the log could not be written");
    let (prefix, time) = (priority(tracing::Level::WARN), now());
    match format {
        LogFormat::Text => format!("{prefix}{time} WARN {message}\n"),
        LogFormat::Json => {
            let line = json!({ "time": time, "level": "WARN", "target": module_path!(), "message": message });
            format!("{prefix}{line}\n")
        }
    }
}

/// The prefix of each line for journald: its priority, sd-daemon(3).
const PRIORITIES: [(tracing::Level, &str); 5] = [
    (tracing::Level::ERROR, "<3>"),
    (tracing::Level::WARN, "<4>"),
    (tracing::Level::INFO, "<6>"),
    (tracing::Level::DEBUG, "<7>"),
    (tracing::Level::TRACE, "<7>"),
];

/// Returns the prefix of a line of this level, or an empty text if journald does not read the log.
pub fn priority(level: tracing::Level) -> &'static str {
    let known = PRIORITIES.iter().find(|(known, _)| *known == level).filter(|_| is_for_journal());
    known.map_or("", |(_, priority)| priority)
}

/// Returns a line without its priority prefix.
pub fn without_priority(line: &str) -> &str {
    PRIORITIES.iter().find_map(|(_, priority)| line.strip_prefix(priority)).unwrap_or(line)
}

/// The variable that names journald's stream by device and inode, systemd.exec(5).
pub const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

/// Whether stderr leads to journald. The variable alone is no proof: every child of a service inherits it, whatever
/// its stderr is.
fn is_for_journal() -> bool {
    static IS: LazyLock<bool> = LazyLock::new(|| {
        std::env::var(JOURNAL_STREAM)
            .is_ok_and(|named| stream(io::stderr()).is_some_and(|ours| ours == named))
    });
    *IS
}

/// Returns [`JOURNAL_STREAM`] for the next process of an upgrade, whose stderr is at first a pipe to this one. `None`
/// if journald does not read the log.
pub fn journal_stream(pipe: impl AsFd) -> Option<String> {
    stream(pipe).filter(|_| is_for_journal())
}

fn stream(file: impl AsFd) -> Option<String> {
    fstat(file).ok().map(|found| format!("{}:{}", found.st_dev, found.st_ino))
}

/// Makes writers that prefix each line of an event with its priority.
struct Prioritized;

/// Takes the whole text of an event per call, as the formatter writes it.
struct LogEvent(&'static str);

impl<'w> MakeWriter<'w> for Prioritized {
    type Writer = LogEvent;

    fn make_writer(&'w self) -> LogEvent {
        LogEvent("")
    }

    fn make_writer_for(&'w self, event: &tracing::Metadata<'_>) -> LogEvent {
        LogEvent(priority(*event.level()))
    }
}

impl Write for LogEvent {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return (&QUEUE).write(text);
        }
        let lines = text.split_inclusive(|byte| *byte == b'\n');
        let prioritized: Vec<u8> =
            lines.flat_map(|line| [self.0.as_bytes(), line]).flatten().copied().collect();
        (&QUEUE).write_all(&prioritized)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a line in a format of its own, which ends with a line break. Never blocks.
pub fn write_line(level: tracing::Level, line: &str) {
    // The queue takes every line or counts it as dropped.
    let _queued = LogEvent(priority(level)).write(line.as_bytes());
}

/// The filter in force, and how to replace it.
struct LogFilter {
    /// As it was written.
    text: Mutex<String>,
    /// The filter of the start.
    first: String,
    set: Box<dyn Fn(EnvFilter) -> anyhow::Result<()> + Send + Sync>,
}

static FILTER: OnceLock<LogFilter> = OnceLock::new();

/// Returns the levels in force, as they were written. Empty before the log was started.
pub fn filter() -> String {
    let text = FILTER.get().map(|filter| filter.text.lock().unwrap_or_else(PoisonError::into_inner).clone());
    text.unwrap_or_default()
}

/// Sets the levels, in the notation of `PORTCULLIS_LOG`. `default` restores those of the start. Returns the levels in
/// force.
///
/// # Errors
/// The log was not started, or the levels are invalid.
pub fn set_filter(written: &str) -> anyhow::Result<String> {
    let LogFilter { text, first, set } = FILTER.get().context("the log was not started")?;
    let written = if written == "default" { first } else { written };
    let read = log_filter::read(Some(written), first);
    let read = read.map_err(|refusal| anyhow::anyhow!("{written:?}: {refusal}"))?;
    let shown = read.to_string();
    // Locked until the filter is in force, so that two callers leave the text of the later one.
    let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
    set(read)?;
    text.clone_from(&shown);
    Ok(shown)
}

/// Starts logging to stderr. `PORTCULLIS_LOG` overrides the level with a filter such as `portcullis::net=debug,info`.
/// For journald, each line has its priority; text has no time, because journald adds the time itself.
///
/// # Errors
/// Logging was started before, or the filter is invalid.
pub fn start(level: Level) -> anyhow::Result<Log> {
    // wasmtime warns about actions of guests, which could fill the log beyond their limits. notify warns about each
    // directory removed while watched, as at every update of a mounted secret.
    let default = match level {
        Level::Normal => "portcullis=info,warn,h2=error,notify=error,wasmtime_wasi_http=error",
        Level::Debug => "portcullis=debug,warn,h2=error,notify=error,wasmtime_wasi_http=error",
    };
    let written = std::env::var_os(log_filter::VARIABLE).map(|value| value.to_string_lossy().into_owned());
    let filter = log_filter::read(written.as_deref(), default).map_err(|refusal| {
        anyhow::anyhow!("{}={:?}: {refusal}", log_filter::VARIABLE, written.unwrap_or_default())
    })?;
    let text = format().with_target(false);
    if is_for_journal() { install(text.without_time(), filter) } else { install(text, filter) }?;
    let write = || QUEUE.drain(LineWriter(std::io::stderr()));
    std::thread::Builder::new().name("log".to_owned()).spawn(write)?;
    Ok(Log(()))
}

fn install<T: FormatTime + Send + Sync + 'static>(
    text: Format<Full, T>,
    filter: EnvFilter,
) -> anyhow::Result<()> {
    let first = filter.to_string();
    let lines = tracing_subscriber::fmt()
        .with_writer(Prioritized)
        .fmt_fields(debug_fn(write).delimited(" "))
        .with_ansi(std::io::stderr().is_terminal())
        .event_format(EventFormat(text))
        .with_env_filter(filter)
        .with_filter_reloading();
    let handle = lines.reload_handle();
    lines.try_init().map_err(|error| anyhow::anyhow!("{error}"))?;
    let set = Box::new(move |filter| Ok(handle.reload(filter)?));
    // The log is started once.
    let _first = FILTER.set(LogFilter { text: Mutex::new(first.clone()), first, set });
    Ok(())
}

/// Writes a field of a line.
fn write(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{}=", field.name())?;
    }
    writer.write_str(&shown(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that is full for its first writes.
    struct Full {
        fails: usize,
        text: Vec<u8>,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(left) = self.fails.checked_sub(1) {
                self.fails = left;
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.text.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_are_lost_are_counted_and_told_when_there_is_room_again() {
        let before = LOG.failures();
        let mut lines = LineWriter(Full { fails: 2, text: Vec::new() });

        for line in ["one\n", "two\n", "three\n", "four\n"] {
            lines.write_all(line.as_bytes()).unwrap();
        }

        let text = String::from_utf8(lines.0.text).unwrap();
        let told: Vec<&str> = text.lines().collect();
        assert_eq!((told[0], told[2], told.len()), ("three", "four", 3), "{text}");
        assert!(
            told[1].ends_with("WARN 2 lines before this one are lost: the log could not be written"),
            "{text}"
        );
        assert_eq!(LOG.failures() - before, 2);
    }

    #[test]
    fn the_line_about_lost_lines_is_json_where_the_log_is() {
        let line = lost_lines(LogFormat::Json, 7);

        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&told["level"], &told["target"]), (&"WARN".into(), &"portcullis::observe::log".into()));
        assert!(told["message"].as_str().unwrap().starts_with("7 lines before this one are lost"), "{told}");
        assert!(line.ends_with("}\n") && told["time"].as_str().unwrap().ends_with('Z'), "{line}");
    }
}
