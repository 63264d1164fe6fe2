//! The file threads of a handler, which exist while it has jobs.

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::task::Context;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::sleep;
use tracing::debug;

use super::confine_refusal::ConfineRefusal;
use super::file_thread_cpu::{self, ChargedJob};
use super::mounted::Mounted;
use crate::budget::{Budget, Holder, Portion};
use crate::confine::{self, LandlockRules};
use crate::job::{Fault, Usage};
use crate::runtime_context::polled_in;

/// How long threads wait for the next job before they end.
const THREADS_IDLE: Duration = Duration::from_secs(10);

/// File threads of all handlers. Each takes 2 MiB of address space and about 30 KiB of memory. A handler that finds
/// none left still gets two threads beyond this number.
const ALL: usize = 512;

/// The nice(2) values of a handler's threads, in the order of their start; the last one is for all further threads. The
/// first two are the thread of the timers and one for operations. With these values, handlers share the processor, not
/// threads: 64 busy threads of one handler weigh twice as much as the one thread of another (the kernel's weights are
/// 1024 at 0, 36 at 15 and 15 at 19). Threads that wait for a disk lose nothing, and a processor that nobody else wants
/// is used in full.
///
/// A thread keeps its value until it ends, after 10 s without work, since only privileged threads may lower it again.
/// Three operations at 0 were rejected: a handler had five times the share of another. All others at 19 were rejected
/// as well: beside a busy process, a second and third job would get almost no time.
const NICE: [i32; 6] = [0, 0, 15, 15, 15, 19];

/// The budget of threads that all handlers share.
static LEFT: LazyLock<Arc<Budget>> = LazyLock::new(|| Budget::new(ALL));

/// The file threads of one handler. Its first job starts them, and they end after a while without jobs. An idle handler
/// holds no thread, and none of the four descriptors of a runtime.
pub(super) struct Threads(Arc<SharedThreads>);

struct SharedThreads {
    /// The Landlock rules of the threads; `None` if the host has no Landlock.
    ground: Option<Arc<LandlockRules>>,
    /// The mounts that the threads work on.
    mounted: Arc<Mounted>,
    /// Concurrent operations, as far as the budget has threads for them.
    max: usize,
    budget: Arc<Budget>,
    /// The handler's share of the budget.
    holder: Arc<Holder>,
    patience: Duration,
    /// `None` while no threads run.
    pool: ArcSwapOption<Pool>,
    starting: Mutex<()>,
    /// How many jobs have leased them.
    jobs: AtomicU64,
}

/// Running threads.
struct Pool {
    /// `None` only during the drop.
    runtime: Option<Runtime>,
    handle: Handle,
    /// Concurrent operations.
    max: usize,
    refused: Arc<ConfineRefusal>,
}

/// Keeps the file threads for a job while it runs.
#[derive(Clone)]
pub(in crate::wasm) struct ThreadLease(Arc<Pool>);

impl Threads {
    /// Starts no thread yet. The threads will be confined by `ground`, and run up to `max` operations at once.
    pub(in crate::wasm) fn new(ground: Option<LandlockRules>, mounted: Arc<Mounted>, max: usize) -> Threads {
        Threads::within(LEFT.clone(), ground, mounted, max, THREADS_IDLE)
    }

    fn within(
        budget: Arc<Budget>,
        ground: Option<LandlockRules>,
        mounted: Arc<Mounted>,
        max: usize,
        patience: Duration,
    ) -> Threads {
        let (ground, pool) = (ground.map(Arc::new), ArcSwapOption::empty());
        Threads(Arc::new(SharedThreads {
            ground,
            mounted,
            max,
            budget,
            holder: Arc::default(),
            patience,
            pool,
            starting: Mutex::default(),
            jobs: AtomicU64::new(0),
        }))
    }

    /// Leases the threads to one job, and starts them if none run.
    ///
    /// # Errors
    /// The host has no thread or descriptor left.
    pub(in crate::wasm) fn lease(&self) -> anyhow::Result<ThreadLease> {
        let Threads(shared) = self;
        shared.jobs.fetch_add(1, Ordering::Relaxed);
        if let Some(pool) = shared.serving() {
            return Ok(ThreadLease(pool));
        }
        let _starting = shared.starting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = shared.serving() {
            return Ok(ThreadLease(pool));
        }
        let pool = Arc::new(Pool::new(shared)?);
        // The task runs on these threads, and ends with them.
        drop(pool.handle.spawn(retire(Arc::downgrade(shared), shared.patience)));
        shared.pool.store(Some(pool.clone()));
        Ok(ThreadLease(pool))
    }
}

impl SharedThreads {
    /// Returns the running threads, unless they are to be replaced.
    fn serving(&self) -> Option<Arc<Pool>> {
        let is_replaced = |pool: &Arc<Pool>| pool.refused.why.get().is_some() || self.has_more_than(pool);
        self.pool.load_full().filter(|pool| !is_replaced(pool))
    }

    /// Takes as many threads from the budget as the handler may have, and one for timers. Tries half as many while too
    /// few are left. Returns the number of concurrent operations.
    fn take(&self) -> (usize, Portion) {
        let halves = std::iter::successors(Some(self.max), |max| Some(max / 2).filter(|max| *max > 0));
        let taken = |max| Some((max, self.budget.try_take(&self.holder, max + 1)?));
        halves.into_iter().find_map(taken).unwrap_or_else(|| (1, self.budget.nothing(&self.holder)))
    }

    /// Reports whether a pool is smaller than the handler may have, and the budget now has enough for a full one.
    fn has_more_than(&self, pool: &Pool) -> bool {
        pool.max < self.max && self.budget.try_take(&self.holder, self.max + 1).is_some()
    }
}

/// Returns the nice(2) value of a thread that starts beside so many others.
fn nice(others: usize) -> i32 {
    NICE[others.min(NICE.len() - 1)]
}

/// Ends the pool after a period without jobs.
async fn retire(shared: Weak<SharedThreads>, patience: Duration) {
    let jobs = || Some(shared.upgrade()?.jobs.load(Ordering::Relaxed));
    while let Some(before) = jobs() {
        sleep(patience).await;
        let Some(shared) = shared.upgrade() else { return };
        let Some(pool) = shared.pool.load_full() else { return };
        // Two references are the pool's own and the one here, so no job holds it. A job that loads the pool just now
        // keeps its reference.
        if Arc::strong_count(&pool) == 2 && shared.jobs.load(Ordering::Relaxed) == before {
            shared.pool.store(None);
            return;
        }
    }
}

impl ThreadLease {
    /// Runs work on one of the threads, and does not wait for it.
    pub(in crate::wasm) fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        // No handle is needed: the work ends with the threads at the latest.
        drop(self.0.handle.spawn_blocking(work));
    }

    /// Runs a job so that its blocking operations run on these threads. Their processor time is charged to the job.
    ///
    /// # Errors
    /// Those of the job; or a thread could not be confined.
    ///
    /// # Cancel safety
    /// The same as the job's.
    pub(in crate::wasm) async fn run<T>(
        &self,
        usage: Arc<Usage>,
        job: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        // wasmtime-wasi blocks on the current runtime's threads, so that runtime is entered. The job itself is still
        // polled by the daemon's workers.
        let mut job = pin!(job);
        let mut charged = ChargedJob::new(usage);
        let job = poll_fn(|context| job.as_mut().poll(&mut Context::from_waker(charged.by(context.waker()))));
        tokio::select! {
            biased;
            outcome = polled_in(Some(&self.0.handle), job) => outcome,
            fault = self.0.refused.fault() => Err(fault),
        }
    }
}

impl Pool {
    fn new(shared: &SharedThreads) -> anyhow::Result<Pool> {
        let (ground, mounted) = (shared.ground.clone(), shared.mounted.clone());
        let (max, counted) = shared.take();
        let refused = Arc::<ConfineRefusal>::default();
        let noted = refused.clone();
        let running = Arc::<AtomicUsize>::default();
        let ended = running.clone();
        let start = move || {
            let nice = nice(running.fetch_add(1, Ordering::Relaxed));
            if nice > 0
                && let Err(refusal) = confine::serve_last(nice)
            {
                debug!("a thread for files has no lower priority: {refusal}");
            }
            // Each thread keeps both. A thread that hangs may change files after its job and its handler are gone;
            // until then its mounts count as writable, and the thread counts in the budget.
            let _kept = (&mounted, &counted);
            // It was tried before, so the host is out of memory now.
            if let Some(Err(refusal)) = ground.as_deref().map(LandlockRules::confine) {
                noted.note(&refusal);
                // tokio has no other way to end a thread before it takes an operation from the queue. This calls no
                // panic hook.
                resume_unwind(Box::new("not confined"));
            }
            file_thread_cpu::begin();
        };
        let runtime = Builder::new_multi_thread()
            // For the timers and sockets of jobs; no other runtime polls them.
            .worker_threads(1)
            .max_blocking_threads(max)
            .thread_name("files")
            .on_thread_start(start)
            .on_thread_stop(move || {
                ended.fetch_sub(1, Ordering::Relaxed);
            })
            .enable_all()
            .build()
            .context("start a thread for files")?;
        let handle = runtime.handle().clone();
        Ok(Pool { runtime: Some(runtime), handle, max, refused })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Does not wait for the threads: an operation that hangs is the reason why they are separate.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests;
