//! The stock of `/tmp` directories for the jobs of one handler.
//!
//! A directory is made when none is in stock. After its job, it is kept for the next one if it was not touched, and
//! removed otherwise.

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
use crate::wasm::host::threads::ThreadLease;

/// Maximum directories in stock. Each takes two descriptors, and one for every mount.
const KEPT: usize = 16;

/// How long an ended job waits for its directory to be removed. After that its slot is free, and the directory counts
/// in the quota until it is gone.
const REMOVAL: Duration = Duration::from_secs(5);

/// The `/tmp` directories of one handler's jobs.
pub(in crate::wasm) struct Stock {
    mounted: Arc<Mounted>,
    dir: Arc<HandlerDir>,
    /// Maximum bytes in each directory.
    bytes: u64,
    kept: Mutex<Vec<ReadyDir>>,
    /// Maximum number of them.
    max: usize,
}

/// A directory that no job has touched.
struct ReadyDir {
    /// The preopened directories of a guest: the mounts and this one.
    granted: WasiFilesystemCtx,
    dir: Arc<JobDir>,
}

/// A job's directory and its accounts. Fields drop in this order, so the directory is removed first.
struct AccountedDir {
    ready: ReadyDir,
    account: Arc<Mutex<Quota>>,
    /// `None` if descriptors are not counted.
    _descriptors: Option<Portion>,
}

/// Takes a job's directory back, however the job ends.
pub(in crate::wasm) struct TmpGuard {
    stock: Arc<Stock>,
    /// `None` only while it is taken back.
    had: Option<AccountedDir>,
    threads: ThreadLease,
}

impl Stock {
    /// Makes an empty stock for a handler that runs `jobs` jobs at once.
    pub(in crate::wasm) fn new(mounted: Arc<Mounted>, dir: HandlerDir, bytes: u64, jobs: usize) -> Stock {
        Stock { mounted, dir: Arc::new(dir), bytes, kept: Mutex::default(), max: jobs.min(KEPT) }
    }

    /// Returns how many descriptors the stock holds for a handler that runs `jobs` jobs at once.
    pub(in crate::wasm) fn held_idle(mounts: usize, jobs: usize) -> usize {
        jobs.min(KEPT) * Stock::held_by_job(mounts) + 3
    }

    /// Returns how many descriptors a job's directory takes.
    pub(in crate::wasm) fn held_by_job(mounts: usize) -> usize {
        mounts + 2
    }

    /// Returns the maximum bytes in each directory.
    pub(in crate::wasm) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the directory that contains all of them.
    pub(in crate::wasm) fn dir(&self) -> &HandlerDir {
        &self.dir
    }

    /// Grants a directory and the mounts to a job. The descriptors allotted for them move to the guard.
    ///
    /// # Errors
    /// The host has no descriptor left, or no room for the directory.
    pub(in crate::wasm) async fn grant(
        self: &Arc<Self>,
        threads: &ThreadLease,
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
        let had = Some(AccountedDir { ready, account, _descriptors: descriptors });
        Ok((wasi, TmpGuard { stock: self.clone(), had, threads: threads.clone() }))
    }

    fn make(&self) -> Result<ReadyDir> {
        let dir = self.dir.for_job().context("make a job's /tmp in the scratch directory")?;
        Ok(ReadyDir { granted: self.mounted.granted(Some(&dir))?, dir: Arc::new(dir) })
    }

    fn kept(&self) -> MutexGuard<'_, Vec<ReadyDir>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TmpGuard {
    /// Takes the directory back after its job. Waits for its removal, up to a bound; that time is not charged to the
    /// job.
    pub(in crate::wasm) async fn end(mut self, waits: &Waits) {
        let Some(had) = self.had.take() else { return };
        // An operation that the job started may still hold the directory.
        if Arc::strong_count(&had.account) == 1 && lock(&had.account).is_untouched() {
            let mut kept = self.stock.kept();
            if kept.len() < self.stock.max {
                kept.push(had.ready);
                return;
            }
        }
        waits.has_ended();
        let threads = self.threads.clone();
        let removed = spawn_blocking(move || drop((had, threads)));
        // The removal continues even after the timeout.
        let _gone = timeout(REMOVAL, removed).await;
    }
}

impl Drop for TmpGuard {
    fn drop(&mut self) {
        let Some(had) = self.had.take() else { return };
        let threads = self.threads.clone();
        // On the file threads, which are confined to the directory. The lease keeps them until it is removed.
        self.threads.spawn(move || drop((had, threads)));
    }
}
