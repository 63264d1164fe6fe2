//! The slow lane: low-priority threads for jobs that compute for long, so short jobs are not delayed.
//!
//! A job starts on a worker of the runtime, beside the sockets and timers: the fast way for a short job.
//! A job that goes on computing moves to the lane. Its threads have a lower priority than the workers.
//! They schedule by handler, not by job: the handler that has used the least time is next, so a hundred
//! jobs of one handler take no more from another handler than one job does.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::{debug, error};

use crate::confine;
use crate::job::Name;

/// The nice(2) value of the lane's threads. At 19, other processes of the host would leave the lane almost
/// no time. With the policy `SCHED_IDLE`, four computing guests would leave the p99 of their neighbours as it is, and at 15
/// it is five times as long. But then a busy host would delay a job in a poll, its file threads and the end of the process
/// by seconds. `run` and `replay` serve no requests, and their threads keep their priority.
const NICE: i32 = 15;

/// The lane of an engine. Dropping it ends its threads.
#[derive(Default)]
pub(super) struct Lane {
    shared: Arc<SharedLane>,
    started: OnceLock<()>,
}

/// A future that was moved to the lane, and the receiver of its outcome. Dropping it drops the future: at
/// once or, if it is being polled, when that poll returns.
pub(super) struct Ticket<T> {
    outcome: oneshot::Receiver<T>,
    task: Arc<Task>,
}

#[derive(Default)]
struct SharedLane {
    lines: Mutex<LaneQueues>,
    ready: Condvar,
}

#[derive(Default)]
struct LaneQueues {
    by_handler: HashMap<Name, LaneQueue>,
    /// The time of the queue that was chosen last. A handler that enters the lane starts at this time.
    now: Duration,
    ended: bool,
}

/// The queue of one handler.
#[derive(Default)]
struct LaneQueue {
    ready: VecDeque<Arc<Task>>,
    /// The number of its jobs that are being polled.
    polled: usize,
    /// Wall time of its polls, counted from where the queue started.
    time: Duration,
}

struct Task {
    handler: Name,
    shared: Arc<SharedLane>,
    work: Mutex<Option<LaneWork>>,
    state: AtomicU8,
    dropped: AtomicBool,
}

type LaneWork = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The task waits to be woken.
const IDLE: u8 = 0;
/// The task waits in its queue.
const QUEUED: u8 = 1;
/// The task is being polled.
const POLLED: u8 = 2;
/// The task is being polled, and was woken meanwhile.
const WOKEN: u8 = 3;

impl Lane {
    /// Moves a future to the lane, where it runs inside the caller's runtime.
    ///
    /// The first call starts the threads, one for each core.
    pub(super) fn enter<T: Send + 'static>(
        &self,
        handler: &Name,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Ticket<T> {
        self.started.get_or_init(|| start(&self.shared));
        let (sender, outcome) = oneshot::channel();
        let work = Box::pin(async move {
            // The receiver may have been dropped.
            let _left = sender.send(work.await);
        });
        let task = Arc::new(Task {
            handler: handler.clone(),
            shared: self.shared.clone(),
            work: Mutex::new(Some(work)),
            state: AtomicU8::new(QUEUED),
            dropped: AtomicBool::new(false),
        });
        self.shared.push(task.clone());
        Ticket { outcome, task }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut lines = self.shared.lock();
        lines.ended = true;
        // Each task holds a reference to the lane.
        let left = std::mem::take(&mut lines.by_handler);
        drop(lines);
        drop(left);
        self.shared.ready.notify_all();
    }
}

impl<T> Ticket<T> {
    /// Waits for the outcome. Returns `None` if the future panicked or the lane has ended.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.outcome).poll(context).map(Result::ok)
    }
}

impl<T> Drop for Ticket<T> {
    fn drop(&mut self) {
        self.task.dropped.store(true, Ordering::SeqCst);
        self.task.clear();
    }
}

impl Task {
    /// Drops the future, unless it is being polled; the polling thread checks again afterwards.
    fn clear(&self) {
        let work = match self.work.try_lock() {
            Ok(mut work) => work.take(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take(),
            Err(TryLockError::WouldBlock) => None,
        };
        drop(work);
    }

    /// Polls the future once.
    fn poll(self: &Arc<Self>) {
        self.state.store(POLLED, Ordering::SeqCst);
        let waker = Waker::from(self.clone());
        {
            let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(future) = work.as_mut()
                && future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
            {
                *work = None;
            }
        }
        if self.dropped.load(Ordering::SeqCst) {
            self.clear();
        }
    }

    /// Notes that the poll is over. Returns `true` if the task was woken meanwhile and must be queued
    /// again.
    fn rest(&self) -> bool {
        let rested = self.state.compare_exchange(POLLED, IDLE, Ordering::SeqCst, Ordering::SeqCst);
        if rested.is_err() {
            self.state.store(QUEUED, Ordering::SeqCst);
        }
        rested.is_err()
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let woken = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |state| match state {
            IDLE => Some(QUEUED),
            POLLED => Some(WOKEN),
            _ => None,
        });
        if woken == Ok(IDLE) {
            let shared = self.shared.clone();
            shared.push(self);
        }
    }
}

impl SharedLane {
    fn lock(&self) -> MutexGuard<'_, LaneQueues> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, task: Arc<Task>) {
        self.lock().push(task);
        self.ready.notify_one();
    }

    /// Polls the next task, until the lane ends.
    fn work(&self) {
        let mut lines = self.lock();
        while !lines.ended {
            let Some(task) = lines.next() else {
                lines = self.ready.wait(lines).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(lines);
            let start = Instant::now();
            // Jobs catch their own panics. A panic while a job is dropped must not end the thread either.
            if catch_unwind(AssertUnwindSafe(|| task.poll())).is_err() {
                error!("the daemon failed while it ended a job of {}: a bug, please report it", task.handler);
                task.clear();
            }
            let again = task.rest();
            lines = self.lock();
            lines.charge(&task.handler, start.elapsed());
            if again {
                lines.push(task);
            }
        }
    }
}

impl LaneQueues {
    fn push(&mut self, task: Arc<Task>) {
        let now = self.now;
        let line = self.by_handler.entry(task.handler.clone());
        line.or_insert_with(|| LaneQueue { time: now, ..LaneQueue::default() }).ready.push_back(task);
    }

    /// Takes a task of the handler that has used the least time.
    fn next(&mut self) -> Option<Arc<Task>> {
        let waiting = self.by_handler.values_mut().filter(|line| !line.ready.is_empty());
        let line = waiting.min_by_key(|line| line.time)?;
        let task = line.ready.pop_front()?;
        line.polled += 1;
        self.now = self.now.max(line.time);
        Some(task)
    }

    fn charge(&mut self, handler: &Name, time: Duration) {
        let Some(line) = self.by_handler.get_mut(handler) else { return };
        line.polled -= 1;
        line.time += time;
        // A queue that is empty for a moment keeps its time: a handler that computes is back soon and
        // must not start afresh.
        let now = self.now;
        self.by_handler.retain(|_, line| line.polled > 0 || !line.ready.is_empty() || line.time > now);
    }
}

/// Starts the threads. If none can be started, jobs in the lane wait until their time limit ends them.
fn start(shared: &Arc<SharedLane>) {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    for _ in 0..cores {
        let (shared, runtime) = (shared.clone(), Handle::current());
        let work = move || {
            if let Err(refusal) = confine::serve_last(NICE) {
                debug!("the slow lane has no lower priority: {refusal}");
            }
            // Futures polled here use the timers of the runtime.
            let _entered = runtime.enter();
            shared.work();
        };
        if let Err(refusal) = thread::Builder::new().name("lane".to_owned()).spawn(work) {
            error!("no thread for jobs that compute: {refusal}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use tokio::task::yield_now;
    use tokio::time::timeout;

    /// The deadline of each test.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    /// Waits until the work of a ticket has ended.
    async fn ended<T>(ticket: &mut Ticket<T>) -> Option<T> {
        timeout(PATIENCE, std::future::poll_fn(|context| ticket.poll(context))).await.unwrap()
    }

    #[tokio::test]
    async fn work_goes_on_when_it_is_woken_and_says_what_came_of_it() {
        let lane = Lane::default();
        let mut ticket = lane.enter(&name("a"), async {
            yield_now().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            7
        });
        assert_eq!(ended(&mut ticket).await, Some(7));
    }

    #[tokio::test]
    async fn work_that_nobody_wants_is_dropped_also_while_it_computes() {
        struct Told(Arc<AtomicUsize>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let (lane, dropped) = (Lane::default(), Arc::new(AtomicUsize::new(0)));
        let (waits, computes) = (Told(dropped.clone()), Told(dropped.clone()));
        let waiting = lane.enter(&name("a"), async move {
            let _told = waits;
            std::future::pending::<()>().await;
        });
        let computing = lane.enter(&name("b"), async move {
            let _told = computes;
            loop {
                yield_now().await;
            }
        });

        drop::<(Ticket<()>, Ticket<()>)>((waiting, computing));

        let both = async {
            while dropped.load(Ordering::SeqCst) < 2 {
                yield_now().await;
            }
        };
        timeout(PATIENCE, both).await.unwrap();
    }

    #[tokio::test]
    async fn work_that_panics_while_it_is_dropped_takes_no_thread_with_it() {
        struct PanicsOnDrop;
        impl Drop for PanicsOnDrop {
            fn drop(&mut self) {
                panic!("as a bug would");
            }
        }
        let lane = Lane::default();
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        for _ in 0..=cores {
            let held = PanicsOnDrop;
            let mut ticket = lane.enter(&name("a"), async move {
                let _held = held;
            });
            assert_eq!(ended(&mut ticket).await, None);
        }

        let mut ticket = lane.enter(&name("a"), async { 7 });

        assert_eq!(ended(&mut ticket).await, Some(7));
    }

    #[test]
    fn the_handler_that_had_the_least_time_is_next() {
        let mut lines = LaneQueues::default();
        let task = |handler: &str| {
            Arc::new(Task {
                handler: name(handler),
                shared: Arc::default(),
                work: Mutex::new(None),
                state: AtomicU8::new(QUEUED),
                dropped: AtomicBool::new(false),
            })
        };
        (0..10).for_each(|_| lines.push(task("crowd")));
        lines.push(task("single"));

        // Each job is queued again after a slice, the single one too.
        let order: Vec<String> = (0..12)
            .map(|_| {
                let next = lines.next().unwrap();
                lines.charge(&next.handler, Duration::from_millis(10));
                lines.push(next.clone());
                next.handler.to_string()
            })
            .collect();

        assert_eq!(order.iter().filter(|handler| *handler == "single").count(), 6, "{order:?}");
    }
}
