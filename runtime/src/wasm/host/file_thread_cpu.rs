//! Charges a job for the processor time that file threads spend on it.
//!
//! wasmtime-wasi hands each blocking operation to a file thread and waits for it. The thread wakes the job
//! when the operation is done, and runs nothing else in between. So its processor time is read in the waker.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use crate::job::Usage;
use crate::observe::threads::thread_time;

thread_local! {
    /// The thread's processor time up to the last charge; `None` on other threads.
    static CHARGED: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// A job that file threads work for.
pub(super) struct ChargedJob {
    usage: Arc<Usage>,
    /// The waker of the last poll, and the charging waker made from it.
    wakers: Option<(Waker, Waker)>,
}

/// A waker that charges the job.
struct Charging {
    usage: Arc<Usage>,
    waker: Waker,
    since: Instant,
}

/// Starts the account of the current file thread.
pub(in crate::wasm) fn begin() {
    CHARGED.set(Some(thread_time()));
}

impl ChargedJob {
    pub(in crate::wasm) fn new(usage: Arc<Usage>) -> ChargedJob {
        ChargedJob { usage, wakers: None }
    }

    /// Returns a waker that charges the job and then wakes `waker`.
    pub(in crate::wasm) fn by(&mut self, waker: &Waker) -> &Waker {
        if self.wakers.as_ref().is_none_or(|(last, _)| !last.will_wake(waker)) {
            self.wakers = None;
        }
        let usage = &self.usage;
        let (_, ours) = self.wakers.get_or_insert_with(|| {
            let charging = Charging { usage: usage.clone(), waker: waker.clone(), since: Instant::now() };
            (waker.clone(), Waker::from(Arc::new(charging)))
        });
        ours
    }
}

impl Wake for Charging {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(before) = CHARGED.get() {
            let now = thread_time();
            CHARGED.set(Some(now));
            // The thread may have finished work for an earlier job that was gone, whose waker it never
            // called. That was before this waker was made, hence the minimum.
            let spent = now.saturating_sub(before).min(self.since.elapsed());
            self.usage.spend(spent);
        }
        self.waker.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const WORK: Duration = Duration::from_millis(50);

    fn compute(time: Duration) {
        let begin = thread_time();
        while thread_time() - begin < time {}
    }

    #[test]
    fn a_job_is_charged_for_what_a_thread_did_since_it_was_charged_last() {
        let usage = Arc::new(Usage::default());
        let mut charged = ChargedJob::new(usage.clone());
        let waker = charged.by(Waker::noop()).clone();

        let whole = thread::scope(|scope| {
            let working = scope.spawn(|| {
                begin();
                compute(WORK);
                waker.wake_by_ref();
                waker.wake_by_ref();
                thread_time()
            });
            working.join().unwrap()
        });
        let spent = usage.cpu();
        // A thread that is not a file thread charges nothing: its time is counted elsewhere.
        compute(WORK);
        waker.wake_by_ref();

        assert!((WORK..=whole).contains(&spent), "{spent:?} of {whole:?}");
        assert_eq!(usage.cpu(), spent);
    }

    #[test]
    fn a_job_is_not_charged_for_another_that_has_left() {
        let usage = Arc::new(Usage::default());
        let since = thread::scope(|scope| {
            let working = scope.spawn(|| {
                begin();
                compute(WORK);
                let start = Instant::now();
                let mut charged = ChargedJob::new(usage.clone());
                charged.by(Waker::noop()).wake_by_ref();
                start.elapsed()
            });
            working.join().unwrap()
        });

        assert!(usage.cpu() <= since, "{:?}, though it was there for {since:?}", usage.cpu());
    }
}
