//! Charges the caller of a statement for the processor time of the connection's thread, while the statement runs.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::confine;
use crate::database::caller::SqlCaller;
use crate::observe::threads::thread_time;

/// How often SQLite's machine is looked at between two readings of the thread's clock, which is a system call.
const LOOKS: u32 = 16;

/// The processor time after which a thread has a lower priority than those that serve requests.
const SLOW: Duration = Duration::from_millis(20);

/// The nice(2) values of the threads that compute for long: of the first thread of a handler, and of its others. By the
/// kernel's weights (36 at 15, and 15 at 19) eight of them weigh four times as much as the one thread of another handler.
const NICE: [i32; 2] = [15, 19];

/// How many slow threads each line has.
static LINES: LazyLock<Mutex<HashMap<usize, usize>>> = LazyLock::new(Mutex::default);

/// The account of a connection's thread.
#[derive(Default)]
pub(super) struct StatementMeter(Mutex<MeterState>);

#[derive(Default)]
struct MeterState {
    /// `None` between statements, and for statements that nobody pays for.
    caller: Option<Arc<SqlCaller>>,
    /// The time of the thread that is charged already.
    charged: Duration,
    /// The time of the current statement.
    spent: Duration,
    looks: u32,
    /// Whether the caller has used up its time.
    is_over: bool,
    slow: Option<SlowThread>,
}

/// A thread with a lower priority. It keeps that until it ends: only privileged threads may raise it again.
struct SlowThread {
    line: usize,
}

impl StatementMeter {
    fn state(&self) -> MutexGuard<'_, MeterState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a statement, on the thread that runs it.
    pub(super) fn begin(&self, caller: Option<Arc<SqlCaller>>) {
        let mut state = self.state();
        state.charged = if caller.is_some() { thread_time() } else { Duration::ZERO };
        (state.caller, state.spent, state.is_over) = (caller, Duration::ZERO, false);
    }

    /// Looks whether the caller has used up its time. The clock is read now and then.
    pub(super) fn is_over(&self) -> bool {
        let mut state = self.state();
        if state.caller.is_some() {
            state.looks = state.looks.wrapping_add(1);
            if state.looks.is_multiple_of(LOOKS) {
                state.charge();
            }
        }
        state.is_over
    }

    /// Ends a statement. Returns whether its caller has used up its time.
    pub(super) fn end(&self) -> bool {
        let mut state = self.state();
        state.charge();
        state.caller = None;
        state.is_over
    }

    /// Whether the thread has a lower priority.
    pub(super) fn is_slow(&self) -> bool {
        self.state().slow.is_some()
    }
}

impl MeterState {
    fn charge(&mut self) {
        let Some(caller) = &self.caller else { return };
        let now = thread_time();
        let time = now.saturating_sub(self.charged);
        (self.charged, self.spent) = (now, self.spent + time);
        self.is_over = !caller.charge(time);
        if self.spent > SLOW && self.slow.is_none() {
            self.slow = Some(SlowThread::new(caller.line()));
        }
    }
}

impl SlowThread {
    /// Lowers the priority of this thread.
    fn new(line: usize) -> SlowThread {
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        let others = lines.entry(line).or_default();
        let nice = NICE[(*others).min(NICE.len() - 1)];
        *others += 1;
        // Refused, it computes beside the threads that serve.
        let _refused = confine::serve_last(nice);
        SlowThread { line }
    }
}

impl Drop for SlowThread {
    fn drop(&mut self) {
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = lines.get_mut(&self.line) {
            *count -= 1;
            if *count == 0 {
                lines.remove(&self.line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_statement_is_charged_while_it_runs_and_its_thread_is_slow() {
        let spent = Arc::new(AtomicU64::new(0));
        let charged = spent.clone();
        let most = Duration::from_millis(50);
        let caller = SqlCaller::new(7, move |time| {
            let time = u64::try_from(time.as_nanos()).unwrap();
            Duration::from_nanos(charged.fetch_add(time, Ordering::Relaxed) + time) <= most
        });

        // A thread of its own, which keeps its priority.
        let (is_slow, is_over, whole) = std::thread::spawn(move || {
            let meter = StatementMeter::default();
            let start = thread_time();
            meter.begin(Some(Arc::new(caller)));
            while !meter.is_over() {}
            let is_over = meter.end();
            // What follows is nobody's.
            while thread_time() - start < 2 * most {}
            meter.begin(None);
            assert!(!meter.is_over() && !meter.end());
            (meter.is_slow(), is_over, thread_time() - start)
        })
        .join()
        .unwrap();

        let spent = Duration::from_nanos(spent.load(Ordering::Relaxed));
        assert!(is_slow && is_over && spent >= most && spent < whole, "{spent:?} of {whole:?}");
        assert!(!LINES.lock().unwrap().contains_key(&7), "it has ended");
    }
}
