//! Directories for the jobs of one handler: made when there is none at hand, kept for the next job when nobody has
//! touched it, and else removed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;

use super::Tmp;
use super::stream::lock;
use crate::budget::Portion;
use crate::job::{Allotment, Fault, Waits};
use crate::scratch::{HandlerDir, JobDir, Quota};
use crate::wasm::host::guest::Wasi;
use crate::wasm::host::mounted::Mounted;
use crate::wasm::host::threads::Lease;

/// The most directories that are kept: two descriptors each, and those of the mounts.
const KEPT: usize = 16;

/// How long a job that has ended waits for its directory to be removed. Then its slot is free, and what the directory
/// takes is counted until it is gone.
const REMOVAL: Duration = Duration::from_secs(5);

/// The directories of one handler's jobs.
pub(in crate::wasm) struct Stock {
    mounted: Arc<Mounted>,
    dir: Arc<HandlerDir>,
    /// What each job may have in its own.
    bytes: u64,
    kept: Mutex<Vec<Ready>>,
    /// How many of them.
    most: usize,
}

/// A directory that no job has touched.
struct Ready {
    /// The mounts and the directory, as guests see them.
    granted: WasiFilesystemCtx,
    dir: Arc<JobDir>,
}

/// A directory that a job has, and what is counted for it. Dropped in this order, it is removed first.
struct Had {
    ready: Ready,
    account: Arc<Mutex<Quota>>,
    /// `None`: nobody counts them.
    _descriptors: Option<Portion>,
}

/// Takes a job's directory back, whichever way the job ends.
pub(in crate::wasm) struct TmpGuard {
    stock: Arc<Stock>,
    /// `None` only while it is taken back.
    had: Option<Had>,
    threads: Lease,
}

impl Stock {
    /// Begins without any, for a handler that runs `jobs` jobs at once.
    pub(in crate::wasm) fn new(mounted: Arc<Mounted>, dir: HandlerDir, bytes: u64, jobs: usize) -> Stock {
        Stock { mounted, dir: Arc::new(dir), bytes, kept: Mutex::default(), most: jobs.min(KEPT) }
    }

    /// Says how many descriptors it keeps for a handler with so many mounts that runs `jobs` jobs at once.
    pub(in crate::wasm) fn held_idle(mounts: usize, jobs: usize) -> usize {
        jobs.min(KEPT) * Stock::held_by_job(mounts) + 3
    }

    /// Says how many descriptors a job has of it.
    pub(in crate::wasm) fn held_by_job(mounts: usize) -> usize {
        mounts + 2
    }

    /// Returns what each job may have in its directory, in bytes.
    pub(in crate::wasm) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the directory in which all of them are.
    pub(in crate::wasm) fn dir(&self) -> &HandlerDir {
        &self.dir
    }

    /// Gives a job a directory, and its mounts. What it was allotted for that goes over to the guard.
    ///
    /// # Errors
    /// The host has no descriptor or room left.
    pub(in crate::wasm) async fn grant(
        self: &Arc<Self>,
        threads: &Lease,
        allotment: Option<&mut Allotment>,
    ) -> Result<(Wasi, TmpGuard), Fault> {
        let needed = Stock::held_by_job(self.mounted.count());
        let descriptors = allotment.map(|allotment| allotment.descriptors.split(needed));
        let kept = self.kept().pop();
        let ready = match kept {
            Some(ready) => ready,
            None => {
                let stock = self.clone();
                let made = spawn_blocking(move || stock.make()).await.context("make a job's /tmp");
                made.flatten().map_err(Fault::Host)?
            }
        };
        let mut wasi = Wasi::with(ready.granted.clone());
        let account = Arc::new(Mutex::new(ready.dir.quota(self.bytes)));
        wasi.tmp = Some(Box::new(Tmp::new(account.clone(), self.mounted.count())));
        let had = Some(Had { ready, account, _descriptors: descriptors });
        Ok((wasi, TmpGuard { stock: self.clone(), had, threads: threads.clone() }))
    }

    fn make(&self) -> Result<Ready> {
        let dir = self.dir.for_job().context("make a job's /tmp in the scratch directory")?;
        Ok(Ready { granted: self.mounted.granted(Some(&dir))?, dir: Arc::new(dir) })
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Ready>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TmpGuard {
    /// Takes the directory back when its job has ended, and waits a while for it to be removed, which is not of the job's
    /// time.
    pub(in crate::wasm) async fn end(mut self, waits: &Waits) {
        let Some(had) = self.had.take() else { return };
        // Something that the job has begun may still hold it.
        if Arc::strong_count(&had.account) == 1 && lock(&had.account).is_untouched() {
            let mut kept = self.stock.kept();
            if kept.len() < self.stock.most {
                kept.push(had.ready);
                return;
            }
        }
        waits.has_ended();
        let threads = self.threads.clone();
        let removed = spawn_blocking(move || drop((had, threads)));
        // It goes on, whether it is waited for or not.
        let _gone = timeout(REMOVAL, removed).await;
    }
}

impl Drop for TmpGuard {
    fn drop(&mut self) {
        let Some(had) = self.had.take() else { return };
        let threads = self.threads.clone();
        // In the threads that are confined to it, which stay for as long.
        self.threads.spawn(move || drop((had, threads)));
    }
}
