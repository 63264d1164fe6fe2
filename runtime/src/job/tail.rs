//! `Tail`: the end of what a job has written, and the line of it that says why the job failed.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Destination, Fault, Status};
use crate::observe::plain;

/// A destination that keeps the end of what is written to it, in bounded memory.
#[derive(Clone, Debug)]
pub struct Tail(Arc<TailBuffer>);

#[derive(Debug)]
struct TailBuffer {
    bytes: Mutex<VecDeque<u8>>,
    max: usize,
    /// Whether anything was written. The end of a job that has written nothing takes no lock.
    is_written: AtomicBool,
}

impl Tail {
    /// Keeps the last `max` bytes.
    pub fn new(max: usize) -> Tail {
        let (bytes, is_written) = (Mutex::default(), AtomicBool::new(false));
        Tail(Arc::new(TailBuffer { bytes, max, is_written }))
    }

    /// Returns it as a destination of an output.
    pub fn destination(&self) -> Arc<dyn Destination> {
        // The tail itself would need an allocation for one more counter.
        self.0.clone()
    }

    /// Returns what is kept. Invalid UTF-8 is replaced by `U+FFFD`.
    pub fn text(&self) -> String {
        let kept = self.0.lock();
        let (front, back) = kept.as_slices();
        String::from_utf8_lossy(&[front, back].concat()).into_owned()
    }

    /// Returns the last lines of what is kept, of at most `max` bytes together, escaped.
    pub fn last_lines(&self, max: usize) -> String {
        if !self.0.is_written.load(Ordering::Relaxed) {
            return String::new();
        }
        let kept = self.0.lock();
        let skipped = kept.len().saturating_sub(max);
        let bytes: Vec<u8> = kept.iter().skip(skipped).copied().collect();
        drop(kept);
        let text = String::from_utf8_lossy(&bytes);
        // A line that is cut at its beginning is left out, unless it is the only one.
        let whole = text.split_once('\n').filter(|(_, rest)| skipped > 0 && !rest.is_empty());
        let lines = whole.map_or(&*text, |(_, rest)| rest).lines();
        lines.map(plain).collect::<Vec<_>>().join("\n")
    }

    /// Returns the line that says why a program failed: the last line that is not blank, before any stack that
    /// the runtime wrote after it. It has no newline and is safe for the log. Empty if nothing was written.
    pub fn last_line(&self) -> String {
        let text = self.text();
        plain(reason(&text)).into_owned()
    }

    /// Turns the exit status of a failed job into a fault, with the last line of this stderr.
    ///
    /// # Errors
    /// The job failed.
    pub fn check(&self, outcome: Result<Status, Fault>) -> Result<(), Fault> {
        match outcome? {
            Status::OK => Ok(()),
            status => Err(Fault::Exited { status, last_line: self.last_line() }),
        }
    }
}

/// Finds the line of a stderr that says why a program ended.
fn reason(stderr: &str) -> &str {
    /// The beginning of the advice that Rust writes behind every reason.
    const ADVICE: &str = "note: run with `RUST_BACKTRACE=";
    let is_told = |line: &&str| !line.is_empty() && !line.starts_with(ADVICE);
    let lines = || stderr.lines().map(str::trim_end).filter(is_told);
    // Go: `panic: WHY` or `fatal error: WHY`, followed by the stacks of its goroutines.
    let is_go = |line: &&str| line.starts_with("panic: ") || line.starts_with("fatal error: ");
    if let Some(why) = lines().rev().find(is_go)
        && lines().any(|line| line.starts_with("goroutine ") && line.ends_with(':'))
    {
        return why;
    }
    if let Some(why) = ruby_reason(lines()) {
        return why;
    }
    // JavaScript: `Error: WHY`, followed by lines of `at`.
    let is_frame = |line: &&str| {
        let inner = line.trim_start();
        is_indented(line) && (inner.starts_with("from ") || inner.starts_with("at "))
    };
    let last = lines().next_back().unwrap_or_default();
    lines().rev().find(|line| !is_frame(line)).unwrap_or(last)
}

/// Finds the line of an exception with which a Ruby script ended: `FILE:LINE:in 'WHERE': WHY (CLASS)`. Indented lines
/// follow: the source of the mistake, frames, and with a line of their own the causes, each in the same form. A message
/// of several lines stands between its first line and the frames.
fn ruby_reason<'t>(lines: impl DoubleEndedIterator<Item = &'t str>) -> Option<&'t str> {
    let (mut reason, mut has_frames) = (None, false);
    for line in lines.rev() {
        if is_ruby_head(line) {
            (reason, has_frames) = (Some(line), false);
        } else if is_indented(line) {
            has_frames |= line.trim_start().starts_with("from ");
        } else if !has_frames {
            // Something else was written after the exception, if there was one.
            break;
        }
    }
    reason
}

/// Reports whether a line is the first one of a Ruby exception.
fn is_ruby_head(line: &str) -> bool {
    let place = line.split_once(":in ").map(|(place, _)| place).filter(|_| !is_indented(line));
    let number = place.and_then(|place| Some(place.rsplit_once(':')?.1));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

fn is_indented(line: &str) -> bool {
    line.starts_with([' ', '\t'])
}

impl Destination for Tail {
    fn write(&self, bytes: &Bytes) -> io::Result<()> {
        self.0.write(bytes)
    }
}

impl TailBuffer {
    fn lock(&self) -> MutexGuard<'_, VecDeque<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Destination for TailBuffer {
    fn write(&self, bytes: &Bytes) -> io::Result<()> {
        let mut kept = self.lock();
        self.is_written.store(true, Ordering::Relaxed);
        let fresh = &bytes[bytes.len().saturating_sub(self.max)..];
        let surplus = (kept.len() + fresh.len()).saturating_sub(self.max);
        kept.drain(..surplus);
        kept.extend(fresh);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_line_cannot_pass_for_another() {
        let tail = Tail::new(100);
        tail.write(&Bytes::from_static(b"said\rforged\x1b[2J\tend\xe2\x80\xae\n")).unwrap();
        assert_eq!(tail.last_line(), "said\\rforged\\u{1b}[2J\tend\\u{202e}");
    }

    #[test]
    fn the_line_that_says_why_is_found_before_the_stacks_of_other_runtimes() {
        let go = "starting\npanic: oh no\n\ngoroutine 1 [running]:\nmain.main()\n\t/src/main.go:5 +0x2\nexit status 2\n";
        let ruby = "main.rb:2:in 'Object#inner': boom (RuntimeError)\n\tfrom main.rb:5:in '<main>'\n";
        let shown = "a.rb:2:in 'f': undefined method 'x' for nil (NoMethodError)\n\n  nil.x\n     ^^\n\tfrom a.rb:4:in '<main>'\n";
        let caused = "a.rb:4:in 'f': outer (RuntimeError)\n\tfrom a.rb:7:in '<main>'\n\
                      a.rb:2:in 'g': inner (ZeroDivisionError)\n\tfrom a.rb:4:in 'f'\n\tfrom a.rb:7:in '<main>'\n";
        let long = "ready\na.rb:2:in 'f': one (RuntimeError)\ntwo\n\tfrom a.rb:4:in '<main>'\n";
        let javascript = "Error: boom\n    at inner (app.js:3:9)\n    at app.js:7:1\n";
        let python = "Traceback (most recent call last):\n  File \"app.py\", line 1\nMemoryError\n";
        let rust = "memory allocation of 1048576 bytes failed\n\
                    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        for (said, why) in [
            (go, "panic: oh no"),
            (ruby, "main.rb:2:in 'Object#inner': boom (RuntimeError)"),
            (shown, "a.rb:2:in 'f': undefined method 'x' for nil (NoMethodError)"),
            (caused, "a.rb:4:in 'f': outer (RuntimeError)"),
            (long, "a.rb:2:in 'f': one (RuntimeError)"),
            ("a.rb:2:in 'f': told and rescued (RuntimeError)\nno disk left\n", "no disk left"),
            (javascript, "Error: boom"),
            (python, "MemoryError"),
            (rust, "memory allocation of 1048576 bytes failed"),
            ("panic: told and caught\nno disk left\n", "no disk left"),
            ("\tfrom here\n", "\tfrom here"),
            ("", ""),
        ] {
            assert_eq!(reason(said), why);
        }
    }

    #[test]
    fn the_last_lines_are_whole_and_escaped() {
        let tail = Tail::new(100);
        assert_eq!(tail.last_lines(50), "");
        tail.write(&Bytes::from_static(b"first\nsecond\x1b\nthird\n")).unwrap();

        assert_eq!(tail.last_lines(100), "first\nsecond\\u{1b}\nthird");
        assert_eq!((tail.last_lines(10), tail.last_lines(3)), ("third".to_owned(), "rd".to_owned()));
    }

    #[test]
    fn a_tail_holds_no_more_than_it_was_given() {
        let tail = Tail::new(8);
        for _ in 0..1000 {
            tail.write(&Bytes::from_static(b"0123456789abcdef\n")).unwrap();
        }
        assert_eq!(tail.last_line(), "9abcdef");
        assert_eq!(tail.0.lock().len(), 8);
        assert_eq!(Tail::new(8).last_line(), "");
    }
}
