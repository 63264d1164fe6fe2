//! The threads that do the file operations of one handler, for as long as it has jobs.

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak};
use std::task::Context;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use arc_swap::ArcSwapOption;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::charged::{self, Charged};
use super::mounted::Mounted;
use crate::budget::{Budget, Holder, Portion};
use crate::confine::Ground;
use crate::job::{Fault, Usage};

/// How long threads wait for the next job before they end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Threads of all handlers: each takes 2 MiB of address space, and some 30 KiB of memory. A handler that finds none left
/// has two of its own beyond them.
const ALL: usize = 512;

/// Threads that no handler has taken.
static LEFT: LazyLock<Arc<Budget>> = LazyLock::new(|| Budget::new(ALL));

/// The threads of one handler. Its first job starts them, and they end when none has come for a while: a
/// handler that does nothing holds no thread, and none of the four descriptors of a runtime.
pub(super) struct Threads(Arc<Shared>);

struct Shared {
    /// `None`: this host confines no thread.
    ground: Option<Arc<Ground>>,
    /// What the threads work on.
    mounted: Arc<Mounted>,
    /// Operations at once, as far as there are threads for them.
    most: usize,
    budget: Arc<Budget>,
    /// The handler's part of the threads.
    holder: Arc<Holder>,
    patience: Duration,
    /// `None`: there are none now.
    pool: ArcSwapOption<Pool>,
    starting: Mutex<()>,
    /// How many jobs have had them.
    jobs: AtomicU64,
}

/// Threads that run.
struct Pool {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
    /// Operations at once.
    most: usize,
    refused: Arc<Refused>,
}

/// Whether a thread could not be confined. It has ended then, and may have taken the place of others that would
/// serve: so the jobs that wait for these threads end, and the next job starts others.
#[derive(Default)]
struct Refused {
    why: OnceLock<String>,
    told: Notify,
}

/// Keeps the threads of a job's files for as long as it runs.
#[derive(Clone)]
pub(in crate::wasm) struct Lease(Arc<Pool>);

impl Threads {
    /// Starts none yet. They will be confined to `ground`, and do `most` operations at once.
    pub(in crate::wasm) fn new(ground: Option<Ground>, mounted: Arc<Mounted>, most: usize) -> Threads {
        Threads::within(LEFT.clone(), ground, mounted, most, PATIENCE)
    }

    fn within(
        budget: Arc<Budget>,
        ground: Option<Ground>,
        mounted: Arc<Mounted>,
        most: usize,
        patience: Duration,
    ) -> Threads {
        let (ground, pool) = (ground.map(Arc::new), ArcSwapOption::empty());
        Threads(Arc::new(Shared {
            ground,
            mounted,
            most,
            budget,
            holder: Arc::default(),
            patience,
            pool,
            starting: Mutex::default(),
            jobs: AtomicU64::new(0),
        }))
    }

    /// Returns the threads for one job, and starts them if there are none.
    ///
    /// # Errors
    /// The host has no thread or descriptor left.
    pub(in crate::wasm) fn lease(&self) -> anyhow::Result<Lease> {
        let Threads(shared) = self;
        shared.jobs.fetch_add(1, Ordering::Relaxed);
        if let Some(pool) = shared.serving() {
            return Ok(Lease(pool));
        }
        let _starting = shared.starting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = shared.serving() {
            return Ok(Lease(pool));
        }
        let pool = Arc::new(Pool::new(shared)?);
        // Ends with the threads themselves.
        drop(pool.handle.spawn(retire(Arc::downgrade(shared), shared.patience)));
        shared.pool.store(Some(pool.clone()));
        Ok(Lease(pool))
    }
}

impl Shared {
    /// Returns the threads there are, unless they are to be replaced.
    fn serving(&self) -> Option<Arc<Pool>> {
        let is_replaced = |pool: &Arc<Pool>| pool.refused.why.get().is_some() || self.has_more_than(pool);
        self.pool.load_full().filter(|pool| !is_replaced(pool))
    }

    /// Takes as many threads as the handler may have, or half as many, and so on while there are too few, one of them
    /// for timers; says how many operations that are at once.
    fn take(&self) -> (usize, Portion) {
        let halves = std::iter::successors(Some(self.most), |most| Some(most / 2).filter(|most| *most > 0));
        let taken = |most| Some((most, self.budget.try_take(&self.holder, most + 1)?));
        halves.into_iter().find_map(taken).unwrap_or_else(|| (1, self.budget.nothing(&self.holder)))
    }

    /// Reports whether threads that are fewer than the handler may have could be more by now.
    fn has_more_than(&self, pool: &Pool) -> bool {
        pool.most < self.most && self.budget.try_take(&self.holder, self.most + 1).is_some()
    }
}

/// Ends threads that have had no job for a while.
async fn retire(shared: Weak<Shared>, patience: Duration) {
    let jobs = || Some(shared.upgrade()?.jobs.load(Ordering::Relaxed));
    while let Some(before) = jobs() {
        sleep(patience).await;
        let Some(shared) = shared.upgrade() else { return };
        let Some(pool) = shared.pool.load_full() else { return };
        // That one and the one here: no job has them. One that comes in between keeps what it has taken.
        if Arc::strong_count(&pool) == 2 && shared.jobs.load(Ordering::Relaxed) == before {
            shared.pool.store(None);
            return;
        }
    }
}

impl Lease {
    /// Has one of the threads do something, which nobody waits for.
    pub(in crate::wasm) fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        // Not even for its end: it goes with the threads.
        drop(self.0.handle.spawn_blocking(work));
    }

    /// Runs a job such that whatever blocks in it blocks one of these threads, whose time on a
    /// processor is charged to it.
    ///
    /// # Errors
    /// Those of the job; a thread could not be confined.
    ///
    /// # Cancel safety
    /// That of the job.
    pub(in crate::wasm) async fn run<T>(
        &self,
        usage: Arc<Usage>,
        job: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        // wasmtime-wasi blocks in whatever runtime it finds itself in. The job is polled where it
        // was, by the daemon's workers.
        let mut job = pin!(job);
        let mut charged = Charged::new(usage);
        let job = poll_fn(|context| {
            let _here = self.0.handle.enter();
            job.as_mut().poll(&mut Context::from_waker(charged.by(context.waker())))
        });
        tokio::select! {
            biased;
            outcome = job => outcome,
            fault = self.0.refused.fault() => Err(fault),
        }
    }
}

impl Refused {
    /// Notes why a thread could not be confined.
    fn note(&self, why: &anyhow::Error) {
        let _first = self.why.set(format!("{why:#}"));
        self.told.notify_waiters();
    }

    /// Waits until a thread could not be confined.
    async fn fault(&self) -> Fault {
        loop {
            // Before the look: what is noted after that is told to it.
            let told = self.told.notified();
            if let Some(why) = self.why.get() {
                return Fault::Host(anyhow!("a thread for files cannot be confined to the mounts: {why}"));
            }
            told.await;
        }
    }
}

impl Pool {
    fn new(shared: &Shared) -> anyhow::Result<Pool> {
        let (ground, mounted) = (shared.ground.clone(), shared.mounted.clone());
        let (most, counted) = shared.take();
        let refused = Arc::<Refused>::default();
        let noted = refused.clone();
        let start = move || {
            // The threads keep it: one that hangs may change files after its job and its handler are gone, and
            // these mounts count as written to for so long, and the threads as there.
            let _kept = (&mounted, &counted);
            // It was tried before, so this is for want of memory.
            if let Some(Err(refusal)) = ground.as_deref().map(Ground::confine) {
                noted.note(&refusal);
                // tokio has no other way to end a thread before it takes an operation from the queue. No panic
                // hook is called.
                resume_unwind(Box::new("not confined"));
            }
            charged::begin();
        };
        let runtime = Builder::new_multi_thread()
            // For the timers and sockets of jobs, which nobody else would look at.
            .worker_threads(1)
            .max_blocking_threads(most)
            .thread_name("files")
            .on_thread_start(start)
            .enable_all()
            .build()
            .context("start a thread for files")?;
        let handle = runtime.handle().clone();
        Ok(Pool { runtime: Some(runtime), handle, most, refused })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not waited for: an operation that hangs is why there are threads apart.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::time::timeout;

    use super::*;
    use crate::confine::{Place, Reach, Untrusted};

    fn nothing() -> Arc<Mounted> {
        Arc::new(Mounted::open(Vec::new(), &Untrusted::default()).unwrap())
    }

    /// Waits until a handler has threads, or has none.
    async fn become_(threads: &Threads, there: bool) {
        let looking = async {
            while threads.0.pool.load().is_some() != there {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(20), looking).await.unwrap();
    }

    #[tokio::test]
    async fn threads_end_when_no_job_has_them_and_start_again_with_the_next() {
        let threads = Threads::within(Budget::boundless(), None, nothing(), 2, Duration::from_millis(10));
        assert!(threads.0.pool.load().is_none(), "none before the first job");

        for _ in 0..3 {
            let lease = threads.lease().unwrap();
            let work = async { Ok(tokio::task::spawn_blocking(|| 7).await.unwrap()) };
            assert_eq!(lease.run(Arc::default(), work).await.unwrap(), 7);
            drop(lease);
            become_(&threads, false).await;
        }
    }

    /// Waits until so many units are in use.
    async fn become_used(budget: &Budget, used: usize) {
        let looking = async {
            while budget.used() != used {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(20), looking).await.unwrap();
    }

    #[tokio::test]
    async fn handlers_share_the_threads_there_are_and_have_more_when_others_have_ended() {
        let budget = Budget::new(80);
        let handler = |patience| Threads::within(budget.clone(), None, nothing(), 64, patience);
        let (first, second, third) =
            (handler(Duration::from_millis(10)), handler(PATIENCE), handler(PATIENCE));
        let lease = first.lease().unwrap();

        // Of 70 that are not kept, and of the two kept ones of a handler that has few.
        let (fewer, none) = (second.lease().unwrap(), third.lease().unwrap());

        assert_eq!([&lease, &fewer, &none].map(|lease| lease.0.most), [64, 4, 1]);
        assert_eq!(budget.used(), 65 + 5 + 2);
        drop(lease);
        become_used(&budget, 5 + 2).await;
        assert_eq!(third.lease().unwrap().0.most, 64);
        drop(none);
        become_used(&budget, 5 + 65).await;
    }

    #[tokio::test]
    async fn a_job_that_runs_keeps_its_threads() {
        let threads = Threads::within(Budget::boundless(), None, nothing(), 2, Duration::from_millis(1));
        let lease = threads.lease().unwrap();

        // Several times as long as idle ones wait.
        sleep(Duration::from_millis(50)).await;

        assert!(Arc::ptr_eq(&lease.0, threads.0.pool.load().as_ref().unwrap()));
    }

    /// The kernel confines a thread sixteen times, and the threads that it starts inherit that (landlock(7)).
    fn exhausted<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
        let all = [("/", Reach::Write)].map(|(path, reach)| Place::new(path, reach));
        let ground = || Ground::new(&all, &Untrusted::default()).ok();
        let Some(ground) = ground() else {
            let _told = writeln!(std::io::stderr(), "skipped: run this on a kernel that has Landlock");
            return None;
        };
        std::thread::scope(|scope| {
            let confined = scope.spawn(|| {
                // The kernel has 16 layers: landlock(7).
                assert!((0..100).any(|_| ground.confine().is_err()));
                work()
            });
            Some(confined.join().unwrap())
        })
    }

    #[test]
    fn a_thread_that_cannot_be_confined_serves_nothing_and_its_job_fails_as_the_hosts_fault() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path(), Reach::Write);
        let Ok(ground) = Ground::new(&[place], &Untrusted::default()) else { return };
        let threads =
            Threads::within(Budget::boundless(), Some(ground), nothing(), 2, Duration::from_millis(10));
        let mark = dir.path().join("mark");
        let job = || {
            let (mark, lease) = (mark.clone(), threads.lease().unwrap());
            let work = async {
                tokio::task::spawn_blocking(|| std::fs::write(mark, "")).await.unwrap().unwrap();
                Ok(())
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let ended = async { timeout(Duration::from_secs(20), lease.run(Arc::default(), work)).await };
            runtime.block_on(ended).expect("it ends at once")
        };

        let Some(faults) = exhausted(|| [(); 4].map(|()| job().unwrap_err())) else { return };

        for fault in faults {
            let told = fault.to_string();
            assert!(matches!(fault, Fault::Host(_)) && told.contains("cannot be confined"), "{told}");
        }
        assert!(!mark.exists(), "something was served");
        // Others are started for the next job, where the kernel confines them.
        assert!(job().is_ok() && mark.exists());
    }
}
