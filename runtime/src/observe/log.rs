//! The log: lines on stderr, queued so that the daemon never waits for a reader.

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd;
use std::sync::LazyLock;
use std::time::Duration;

use rustix::fs::fstat;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use super::queue::Queue;
use super::writes::LOG;
use super::{filter, plain};

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

/// The longest message or field of a line, in bytes. It is longer than any text of this crate and than the limits on
/// untrusted text: the last bound, for text that was cut nowhere else.
const LONGEST: usize = 32 << 10;

/// Lines that are not written yet.
static QUEUE: Queue = Queue::new();

impl Drop for Log {
    fn drop(&mut self) {
        QUEUE.settle(LAST_LINES);
    }
}

/// Returns how many lines were dropped because the reader of the log was too slow.
pub fn dropped() -> u64 {
    QUEUE.dropped()
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
                    let told = format!(
                        "{}{} WARN {lost} lines before this one are lost: the log could not be written\n",
                        priority(tracing::Level::WARN),
                        now()
                    );
                    let _lost_as_well = self.0.write_all(told.as_bytes());
                }
            }
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
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

/// Starts logging to stderr. `PORTCULLIS_LOG` overrides the level with a filter such as `portcullis::net=debug,info`.
/// For journald, each line has its priority and no time, because journald adds the time itself.
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
    let written = std::env::var_os(filter::VARIABLE).map(|value| value.to_string_lossy().into_owned());
    let filter = filter::read(written.as_deref(), default).map_err(|refusal| {
        anyhow::anyhow!("{}={:?}: {refusal}", filter::VARIABLE, written.unwrap_or_default())
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Prioritized)
        .with_target(false)
        .fmt_fields(debug_fn(write).delimited(" "))
        .with_ansi(std::io::stderr().is_terminal());
    let started = if is_for_journal() { lines.without_time().try_init() } else { lines.try_init() };
    started.map_err(|error| anyhow::anyhow!("{error}"))?;
    let write = || QUEUE.drain(LineWriter(std::io::stderr()));
    std::thread::Builder::new().name("log".to_owned()).spawn(write)?;
    Ok(Log(()))
}

/// Writes a field of a line. This is the last place where untrusted text is escaped. A message may have several lines,
/// such as a stack trace; its author has escaped the text within each line.
fn write(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{}=", field.name())?;
    }
    let mut text = format!("{value:?}");
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            writer.write_char('\n')?;
        }
        writer.write_str(&plain(line))?;
    }
    Ok(())
}

/// Formats the time as the log does: RFC 3339, UTC, microseconds.
pub fn now() -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _infallible = SystemTime.format_time(&mut Writer::new(&mut text));
    text
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
}
