//! Directories for the jobs of one handler: made when there is none at hand, kept for the next job when nobody has
//! touched it, and else removed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use tokio::task::spawn_blocking;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;

use super::Tmp;
use crate::job::Fault;
use crate::scratch::{HandlerDir, JobDir};
use crate::wasm::files::Mounted;
use crate::wasm::module::Wasi;
use crate::wasm::threads::Lease;

/// Directories that are kept: two descriptors each, and those of the mounts.
const KEPT: usize = 16;

/// The directories of one handler's jobs.
pub(in crate::wasm) struct Stock {
    mounted: Arc<Mounted>,
    dir: Arc<HandlerDir>,
    /// What each job may have in its own.
    bytes: u64,
    kept: Mutex<Vec<Ready>>,
}

/// A directory that no job has touched.
struct Ready {
    /// The mounts and the directory, as guests see them.
    granted: WasiFilesystemCtx,
    dir: Arc<JobDir>,
}

/// Takes a job's directory back, whichever way the job ends.
pub(in crate::wasm) struct TmpGuard {
    stock: Arc<Stock>,
    /// `None` only while it is taken back.
    ready: Option<Ready>,
    threads: Lease,
}

impl Stock {
    /// Begins without any.
    pub(in crate::wasm) fn new(mounted: Arc<Mounted>, dir: HandlerDir, bytes: u64) -> Stock {
        Stock { mounted, dir: Arc::new(dir), bytes, kept: Mutex::default() }
    }

    /// Says how many descriptors it keeps for a handler with so many mounts.
    pub(in crate::wasm) fn held_idle(mounts: usize) -> usize {
        KEPT * Stock::held_by_job(mounts) + 3
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

    /// Gives a job a directory, and its mounts.
    ///
    /// # Errors
    /// The host has no descriptor or room left.
    pub(in crate::wasm) async fn grant(self: &Arc<Self>, threads: &Lease) -> Result<(Wasi, TmpGuard), Fault> {
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
        wasi.tmp = Some(Box::new(Tmp::new(ready.dir.quota(self.bytes), self.mounted.count())));
        Ok((wasi, TmpGuard { stock: self.clone(), ready: Some(ready), threads: threads.clone() }))
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
    /// Takes the directory back when its job has ended. Waits while it is removed, so that this is of the job's time.
    pub(in crate::wasm) async fn end(mut self) {
        let Some(ready) = self.ready.take() else { return };
        // Something that the job has begun may still hold it.
        if Arc::strong_count(&ready.dir) == 1 && ready.dir.is_untouched() {
            let mut kept = self.stock.kept();
            if kept.len() < KEPT {
                kept.push(ready);
                return;
            }
        }
        let _removed = spawn_blocking(move || drop(ready)).await;
    }
}

impl Drop for TmpGuard {
    fn drop(&mut self) {
        let Some(ready) = self.ready.take() else { return };
        let threads = self.threads.clone();
        // In the threads that are confined to it, which stay for as long.
        self.threads.spawn(move || {
            drop(ready);
            drop(threads);
        });
    }
}
