//! The queue of log lines that are not written yet, bounded in lines and bytes.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most lines in the queue.
const LINES: usize = 64 << 10;

/// The most bytes in the queue: a slow reader costs no more memory than this, however long the lines are.
const BYTES: usize = 16 << 20;

/// How long the writer rests when it has written all lines. Without the rest, each line of a burst would wake it, which
/// costs more than the line.
const WRITER_REST: Duration = Duration::from_millis(1);

/// The queue. A line that does not fit is dropped and counted, so a stalled reader blocks nothing.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<QueuedLines>,
    grown: Condvar,
    emptied: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct QueuedLines {
    /// The first line stays in front while it is being written.
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Whether the writer waits to be woken.
    is_awaited: bool,
}

impl Queue {
    pub(super) const fn new() -> Queue {
        Queue {
            waiting: Mutex::new(QueuedLines { lines: VecDeque::new(), bytes: 0, is_awaited: false }),
            grown: Condvar::new(),
            emptied: Condvar::new(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Returns how many lines were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Adds a line, or counts it as dropped. Never waits for the reader.
    fn push(&self, line: &[u8]) {
        let mut waiting = self.lock();
        if waiting.lines.len() >= LINES || waiting.bytes + line.len() > BYTES {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line.to_vec());
        let is_awaited = std::mem::take(&mut waiting.is_awaited);
        drop(waiting);
        if is_awaited {
            self.grown.notify_one();
        }
    }

    /// Writes lines as they arrive, for ever.
    pub(super) fn drain(&self, mut out: impl Write) -> ! {
        let mut waiting = self.lock();
        loop {
            let Some(line) = waiting.lines.front_mut().map(std::mem::take) else {
                self.emptied.notify_all();
                // Nobody wakes it before its rest is over.
                let rested = self.grown.wait_timeout(waiting, WRITER_REST);
                waiting = rested.unwrap_or_else(PoisonError::into_inner).0;
                waiting.is_awaited = waiting.lines.is_empty();
                let grown = self.grown.wait_while(waiting, |waiting| waiting.lines.is_empty());
                waiting = grown.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(waiting);
            // The writer counts the lines that it cannot write.
            let _counted = out.write_all(&line).and_then(|()| out.flush());
            waiting = self.lock();
            waiting.lines.pop_front();
            waiting.bytes -= line.len();
        }
    }

    /// Waits until all lines are written, at most for `patience`.
    pub(super) fn settle(&self, patience: Duration) {
        let unwritten = |waiting: &mut QueuedLines| !waiting.lines.is_empty();
        let _in_time = self.emptied.wait_timeout_while(self.lock(), patience, unwritten);
    }

    fn lock(&self) -> MutexGuard<'_, QueuedLines> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a whole line per call, as the formatters write.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const TEST_DEADLINE: Duration = Duration::from_secs(60);

    /// A reader that takes a line only on request.
    struct Slow(Receiver<()>, Sender<usize>);

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(io::Error::other)?;
            self.1.send(line.len()).map_err(io::Error::other)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_wait_are_bounded_in_bytes_the_one_being_written_among_them() {
        static QUEUE: Queue = Queue::new();
        let (go, told) = channel();
        let (said, written) = channel();
        std::thread::spawn(move || QUEUE.drain(Slow(told, said)));
        let half = vec![b'x'; BYTES / 2];

        for _ in 0..3 {
            (&QUEUE).write_all(&half).unwrap();
        }
        (&QUEUE).write_all(b"short\n").unwrap();

        assert_eq!(QUEUE.dropped(), 2, "no byte beyond the bound");
        QUEUE.settle(Duration::ZERO);
        for _ in 0..2 {
            go.send(()).unwrap();
            assert_eq!(written.recv_timeout(TEST_DEADLINE).unwrap(), half.len());
        }
        QUEUE.settle(TEST_DEADLINE);
        (&QUEUE).write_all(b"short\n").unwrap();
        go.send(()).unwrap();
        assert_eq!(written.recv_timeout(TEST_DEADLINE).unwrap(), 6);
        assert_eq!(QUEUE.dropped(), 2);
    }

    #[test]
    fn lines_that_wait_are_bounded_in_number() {
        let queue = Queue::new();

        for _ in 0..LINES + 2 {
            (&queue).write_all(b"\n").unwrap();
        }

        assert_eq!((queue.dropped(), queue.lock().lines.len()), (2, LINES));
    }
}
