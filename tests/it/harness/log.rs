//! The stderr of a process, line by line as it arrives.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// The log of one process. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Shared>);

#[derive(Default)]
struct Shared {
    kept: Mutex<Kept>,
    grown: Condvar,
}

#[derive(Default)]
struct Kept {
    lines: Vec<String>,
    /// How many of them [`Log::next`] has passed.
    passed: usize,
    ended: bool,
}

impl Log {
    /// Collects the lines of a stream in its own thread, until the stream ends.
    pub(crate) fn of(stream: impl Read + Send + 'static) -> Log {
        let log = Log::default();
        let writer = log.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&std::mem::take(&mut line)).trim_end().to_owned();
                writer.change(|kept| kept.lines.push(text));
            }
            writer.change(|kept| kept.ended = true);
        });
        log
    }

    fn change(&self, change: impl FnOnce(&mut Kept)) {
        change(&mut self.0.kept.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.grown.notify_all();
    }

    /// Returns the next line that contains `part`, and waits for it if necessary. It starts behind the line that it
    /// returned last, so that a wait in a loop is a wait for a new line.
    pub(crate) fn next(&self, part: &str) -> String {
        let found = self.wait(PATIENCE, |kept| {
            let ahead = kept.lines[kept.passed..].iter().position(|line| line.contains(part))?;
            kept.passed += ahead + 1;
            Some(kept.lines[kept.passed - 1].clone())
        });
        found.unwrap_or_else(|| panic!("no further line with {part:?} in the log:\n{}", self.text()))
    }

    /// Returns the first line that contains `part`, and waits for it if necessary.
    pub(crate) fn line(&self, part: &str) -> String {
        self.wait(PATIENCE, |kept| kept.lines.iter().find(|line| line.contains(part)).cloned())
            .unwrap_or_else(|| panic!("no line with {part:?} in the log:\n{}", self.text()))
    }

    /// Returns the lines that contain `part`, once there are at least `count`.
    pub(crate) fn lines(&self, count: usize, part: &str) -> Vec<String> {
        let found = |kept: &mut Kept| {
            let found: Vec<String> = kept.lines.iter().filter(|line| line.contains(part)).cloned().collect();
            (found.len() >= count).then_some(found)
        };
        self.wait(PATIENCE, found)
            .unwrap_or_else(|| panic!("no {count} lines with {part:?} in the log:\n{}", self.text()))
    }

    /// Returns how many lines contain `part` now.
    pub(crate) fn count(&self, part: &str) -> usize {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.lines.iter().filter(|line| line.contains(part)).count()
    }

    /// Returns everything received so far.
    pub(crate) fn text(&self) -> String {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).lines.join("\n")
    }

    /// Returns everything, once the process has closed its end.
    pub(crate) fn whole(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while !kept.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(left > Duration::ZERO, "the log does not end:\n{}", kept.lines.join("\n"));
            kept = self.0.grown.wait_timeout(kept, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        kept.lines.join("\n")
    }

    fn wait<T>(&self, patience: Duration, find: impl Fn(&mut Kept) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let found = find(&mut kept);
            let left = deadline.saturating_duration_since(Instant::now());
            if found.is_some() || kept.ended || left == Duration::ZERO {
                return found;
            }
            kept = self.0.grown.wait_timeout(kept, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
