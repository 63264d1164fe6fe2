//! The mounts of a handler, held open by descriptor.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustix::fs::{Stat, fstat};
use tracing::warn;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use super::{tmp, trap};
use crate::confine::{LandlockRules, NoLandlock, Reach, Untrusted};
use crate::job::{Access, Mount};
use crate::scratch::{HandlerDir, JobDir};

/// Open mounts.
///
/// Their names are looked up once, when the configuration is loaded. Whatever appears under a name later was not
/// granted, and a handler may be able to change it.
pub struct Mounted {
    pub(super) mounts: Vec<Mount>,
    pub(super) dirs: Vec<Arc<OwnedFd>>,
    /// The mounts that a handler has displaced: the path on the host, and where it leads now.
    displaced: Vec<(PathBuf, String)>,
}

impl Mounted {
    /// Opens mounts. Follows no link below a directory that a handler may write to. A directory that is held, and that
    /// a handler has displaced, is used as it is.
    ///
    /// # Errors
    /// A mount cannot be opened, is not a directory, or shows the processes of this host.
    pub fn open(mut mounts: Vec<Mount>, untrusted: &Untrusted) -> Result<Mounted> {
        let mut displaced = Vec::new();
        let open = |mount: &mut Mount| {
            let shown = || format!("open the mount {}", mount.host.display());
            let granted = untrusted.grant(&mount.host).with_context(shown)?;
            displaced.extend(granted.displaced.map(|why| (mount.host.clone(), why)));
            mount.within = untrusted.find(&mount.host)?.cloned();
            Ok(granted.dir)
        };
        let dirs = mounts.iter_mut().map(open).collect::<Result<_>>()?;
        Ok(Mounted { mounts, dirs, displaced })
    }

    /// Reports whether both are the same directories, by device and inode.
    pub fn is_same(&self, other: &Mounted) -> bool {
        let nodes = |mounted: &Mounted| -> Vec<_> {
            let node = |Stat { st_dev, st_ino, .. }| (st_dev, st_ino);
            mounted.dirs.iter().map(|dir| fstat(dir).ok().map(node)).collect()
        };
        nodes(self) == nodes(other)
    }

    /// Lists the paths of mounts that led to another directory in an earlier load.
    pub fn reopened(&self, before: &Mounted) -> BTreeSet<&Path> {
        fn nodes(mounted: &Mounted) -> impl Iterator<Item = (&Path, Option<(u64, u64)>)> {
            let node = |dir: &OwnedFd| fstat(dir).ok().map(|Stat { st_dev, st_ino, .. }| (st_dev, st_ino));
            mounted.all().map(move |(mount, dir)| (mount.host.as_path(), node(dir)))
        }
        let before: HashMap<&Path, _> = nodes(before).collect();
        let reopened = nodes(self).filter(|(host, node)| before.get(host).is_some_and(|known| known != node));
        reopened.map(|(host, _)| host).collect()
    }

    /// Returns the number of mounts.
    pub(in crate::wasm) fn count(&self) -> usize {
        self.mounts.len()
    }

    /// Iterates over the mounts with their directories.
    pub fn all(&self) -> impl Iterator<Item = (&Mount, &Arc<OwnedFd>)> {
        self.mounts.iter().zip(&self.dirs)
    }

    /// Lists the mounts that a handler has displaced since an earlier load: the path on the host, and where it leads
    /// now. The directories that they were loaded with stay in use.
    pub fn displaced(&self) -> &[(PathBuf, String)] {
        &self.displaced
    }

    /// Iterates over the writable mounts.
    pub fn writable(&self) -> impl Iterator<Item = (&Mount, &Arc<OwnedFd>)> {
        self.all().filter(|(mount, _)| mount.access == Access::Write)
    }

    /// Makes the Landlock ruleset for the mounts and the directory of jobs, and tries it on a thread. Returns `None`
    /// and logs a warning if the host has no Landlock.
    ///
    /// # Errors
    /// The host has Landlock and refuses. It has no memory, thread or descriptor left, or this process was confined
    /// sixteen times already.
    pub(super) fn ground(&self, jobs: Option<&HandlerDir>) -> Result<Option<LandlockRules>> {
        let reach = |mount: &Mount| match mount.access {
            Access::Read => Reach::Read,
            Access::Write => Reach::Write,
        };
        let mounts = self.dirs.iter().map(|dir| &**dir).zip(self.mounts.iter().map(reach));
        let own = jobs.map(|jobs| (jobs.descriptor(), Reach::Write));
        let tried = LandlockRules::of(mounts.chain(own)).and_then(|ground| {
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

    /// Makes the preopened directories, with a job's own `/tmp` last. Without one, all jobs share them: a directory
    /// that is open only for lookups has no state that one job could leave to another.
    pub(in crate::wasm) fn granted(&self, own: Option<&JobDir>) -> Result<WasiFilesystemCtx> {
        let mut wasi = WasiCtxBuilder::new();
        for (mount, dir) in self.mounts.iter().zip(&self.dirs) {
            let permissions = match mount.access {
                Access::Read => FsPerms::ReadOnly,
                Access::Write => FsPerms::ReadWrite,
            };
            // Opens the descriptor itself; no name is looked up. See proc_pid_fd(5).
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

/// Warns once a process that Landlock is missing.
fn warn_once(refusal: &anyhow::Error) {
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| warn!("file operations of handlers are not confined by the kernel: {refusal:#}"));
}
