//! The mounts of a handler, held open.

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{FileType, Stat, fstat};
use tracing::warn;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use super::{tmp, trap};
use crate::confine::{Ground, NoLandlock, Reach, Untrusted};
use crate::job::{Access, Mount};
use crate::scratch::{HandlerDir, JobDir};

/// Mounts that are held open.
///
/// Their names are looked up once, when the configuration is loaded: what comes to be at a name later
/// is not what was granted, and a handler may be able to change it.
pub struct Mounted {
    pub(super) mounts: Vec<Mount>,
    pub(super) dirs: Vec<OwnedFd>,
}

impl Mounted {
    /// Opens mounts. Below a directory that a handler may write to no link is followed.
    ///
    /// # Errors
    /// One of them cannot be opened, is no directory, or shows the processes of this host.
    pub fn open(mut mounts: Vec<Mount>, untrusted: &Untrusted) -> Result<Mounted> {
        let open = |mount: &mut Mount| {
            let shown = || format!("open the mount {}", mount.host.display());
            let dir = untrusted.grant(&mount.host).with_context(shown)?;
            let is_dir = FileType::from_raw_mode(fstat(&dir)?.st_mode) == FileType::Directory;
            ensure!(is_dir, "{}: it is no directory", shown());
            mount.within = untrusted.find(&mount.host)?.cloned();
            Ok(dir)
        };
        let dirs = mounts.iter_mut().map(open).collect::<Result<_>>()?;
        Ok(Mounted { mounts, dirs })
    }

    /// Reports whether these are the same directories as those.
    pub fn is_same(&self, other: &Mounted) -> bool {
        let nodes = |mounted: &Mounted| -> Vec<_> {
            let node = |Stat { st_dev, st_ino, .. }| (st_dev, st_ino);
            mounted.dirs.iter().map(|dir| fstat(dir).ok().map(node)).collect()
        };
        nodes(self) == nodes(other)
    }

    /// Says how many they are.
    pub(in crate::wasm) fn count(&self) -> usize {
        self.mounts.len()
    }

    /// Goes through the directories that may be written to.
    pub fn writable(&self) -> impl Iterator<Item = (&Mount, &OwnedFd)> {
        self.mounts.iter().zip(&self.dirs).filter(|(mount, _)| mount.access == Access::Write)
    }

    /// Finds the ground that the mounts and the directory of jobs are, and tries it; `None`, and a line in the log, on
    /// a host without Landlock.
    ///
    /// # Errors
    /// The host has Landlock and refuses: it has no memory, thread or descriptor left for it now, or this process was
    /// confined sixteen times.
    pub(super) fn ground(&self, jobs: Option<&HandlerDir>) -> Result<Option<Ground>> {
        let reach = |mount: &Mount| match mount.access {
            Access::Read => Reach::Read,
            Access::Write => Reach::Write,
        };
        let mounts = self.dirs.iter().zip(self.mounts.iter().map(reach));
        let own = jobs.map(|jobs| (jobs.descriptor(), Reach::Write));
        let tried = Ground::of(mounts.chain(own)).and_then(|ground| {
            let trial = std::thread::Builder::new().name("confine".to_owned());
            std::thread::scope(|scope| {
                let trial = trial.spawn_scoped(scope, || ground.confine())?;
                trial.join().unwrap_or_else(|_| anyhow::bail!("confining a thread failed"))
            })?;
            Ok(ground)
        });
        match tried {
            Ok(ground) => Ok(Some(ground)),
            Err(refusal) if refusal.is::<NoLandlock>() => {
                warn_once(&refusal);
                Ok(None)
            }
            Err(refusal) => Err(refusal.context("confine file operations to the mounts")),
        }
    }

    /// Makes what a guest sees of them: for all jobs, since a directory that is open for lookups alone
    /// has no state that one job could leave to another. Behind them is the directory of one job, if it has its own.
    pub(in crate::wasm) fn granted(&self, own: Option<&JobDir>) -> Result<WasiFilesystemCtx> {
        let mut wasi = WasiCtxBuilder::new();
        for (mount, dir) in self.mounts.iter().zip(&self.dirs) {
            let permissions = match mount.access {
                Access::Read => FsPerms::ReadOnly,
                Access::Write => FsPerms::ReadWrite,
            };
            // proc_pid_fd(5): not a name that is looked up, but what is open.
            let open = format!("/proc/self/fd/{}", dir.as_raw_fd());
            wasi.preopened_dir(open, &mount.guest, permissions)
                .map_err(trap::ours)
                .with_context(|| format!("open the mount {} (is /proc mounted?)", mount.host.display()))?;
        }
        if let Some(own) = own {
            let open = format!("/proc/self/fd/{}", own.descriptor().as_raw_fd());
            wasi.preopened_dir(open, tmp::GUEST, FsPerms::ReadWrite)
                .map_err(trap::ours)
                .context("open a job's own directory (is /proc mounted?)")?;
        }
        Ok(wasi.build().filesystem().clone())
    }
}

/// Says once that there is one wall less.
fn warn_once(refusal: &anyhow::Error) {
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| warn!("file operations of handlers are not confined by the kernel: {refusal:#}"));
}
