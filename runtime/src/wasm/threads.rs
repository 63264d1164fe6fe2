//! The threads that do the file operations of one handler, for as long as it has jobs.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Context;
use std::time::Duration;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwapOption;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::sleep;
use tracing::warn;

use super::charged::{self, Charged};
use crate::confine::Ground;
use crate::job::Usage;

/// How long threads wait for the next job before they end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The threads of one handler. Its first job starts them, and they end when none has come for a while: a
/// handler that does nothing holds no thread, and none of the four descriptors of a runtime.
pub(super) struct Threads(Arc<Shared>);

struct Shared {
    /// `None`: this host confines no thread.
    ground: Option<Arc<Ground>>,
    /// Operations at once.
    most: usize,
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
}

/// Keeps the threads of a job's files for as long as it runs.
pub(super) struct Lease(Arc<Pool>);

impl Threads {
    /// Starts none yet. They will be confined to `ground`, and do `most` operations at once.
    pub(super) fn new(ground: Option<Ground>, most: usize) -> Threads {
        Threads::with_patience(ground, most, PATIENCE)
    }

    fn with_patience(ground: Option<Ground>, most: usize, patience: Duration) -> Threads {
        let (ground, pool) = (ground.map(Arc::new), ArcSwapOption::empty());
        Threads(Arc::new(Shared {
            ground,
            most,
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
    pub(super) fn lease(&self) -> Result<Lease> {
        let Threads(shared) = self;
        shared.jobs.fetch_add(1, Ordering::Relaxed);
        if let Some(pool) = shared.pool.load_full() {
            return Ok(Lease(pool));
        }
        let _starting = shared.starting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = shared.pool.load_full() {
            return Ok(Lease(pool));
        }
        let pool = Arc::new(Pool::new(shared.ground.clone(), shared.most)?);
        // Ends with the threads themselves.
        drop(pool.handle.spawn(retire(Arc::downgrade(shared), shared.patience)));
        shared.pool.store(Some(pool.clone()));
        Ok(Lease(pool))
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
    /// Runs a job such that whatever blocks in it blocks one of these threads, whose time on a
    /// processor is charged to it.
    ///
    /// # Cancel safety
    /// That of the job.
    pub(super) async fn run<F: Future>(&self, usage: Arc<Usage>, job: F) -> F::Output {
        // wasmtime-wasi blocks in whatever runtime it finds itself in. The job is polled where it
        // was, by the daemon's workers.
        let mut job = pin!(job);
        let mut charged = Charged::new(usage);
        poll_fn(|context| {
            let _here = self.0.handle.enter();
            job.as_mut().poll(&mut Context::from_waker(charged.by(context.waker())))
        })
        .await
    }
}

impl Pool {
    fn new(ground: Option<Arc<Ground>>, most: usize) -> Result<Pool> {
        let start = move || {
            // It was tried before; then this is for want of memory, and a second wall at that.
            if let Some(Err(refusal)) = ground.as_deref().map(Ground::confine) {
                warn!("a thread for files is not confined: {refusal:#}");
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
        Ok(Pool { runtime: Some(runtime), handle })
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
    use tokio::time::timeout;

    use super::*;

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
        let threads = Threads::with_patience(None, 2, Duration::from_millis(10));
        assert!(threads.0.pool.load().is_none(), "none before the first job");

        for _ in 0..3 {
            let lease = threads.lease().unwrap();
            let work = async { tokio::task::spawn_blocking(|| 7).await.unwrap() };
            assert_eq!(lease.run(Arc::default(), work).await, 7);
            drop(lease);
            become_(&threads, false).await;
        }
    }

    #[tokio::test]
    async fn a_job_that_runs_keeps_its_threads() {
        let threads = Threads::with_patience(None, 2, Duration::from_millis(1));
        let lease = threads.lease().unwrap();

        // Several times as long as idle ones wait.
        sleep(Duration::from_millis(50)).await;

        assert!(Arc::ptr_eq(&lease.0, threads.0.pool.load().as_ref().unwrap()));
    }
}
