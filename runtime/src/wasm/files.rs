//! The mounts of one handler, held open, and the threads that read and write what is in them.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{FileType, Stat, fstat};
use tracing::warn;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use super::module::Wasi;
use super::scripts::Scripts;
use super::threads::{Lease, Threads};
use super::{handles, trap};
use crate::confine::{Ground, NoLandlock, Reach, Untrusted};
use crate::job::{Access, Fault, Job, Mount};

/// Operations of one handler at once. A thread each while they run; more wait in line.
const AT_ONCE: usize = 64;

/// Mounts that are held open.
///
/// Their names are looked up once, when the configuration is loaded: what comes to be at a name later
/// is not what was granted, and a handler may be able to change it.
pub struct Mounted {
    mounts: Vec<Mount>,
    dirs: Vec<OwnedFd>,
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

    /// Goes through the directories that may be written to.
    pub fn writable(&self) -> impl Iterator<Item = (&Mount, &OwnedFd)> {
        self.mounts.iter().zip(&self.dirs).filter(|(mount, _)| mount.access == Access::Write)
    }

    /// Finds the ground that the mounts are, and tries it; `None`, and a line in the log, on a host
    /// without Landlock.
    ///
    /// # Errors
    /// The host has Landlock and refuses: it has no memory, thread or descriptor left for it now, or this process was
    /// confined sixteen times.
    fn ground(&self) -> Result<Option<Ground>> {
        let reach = |mount: &Mount| match mount.access {
            Access::Read => Reach::Read,
            Access::Write => Reach::Write,
        };
        let tried = Ground::of(self.dirs.iter().zip(self.mounts.iter().map(reach))).and_then(|ground| {
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
    /// has no state that one job could leave to another.
    fn granted(&self) -> Result<WasiFilesystemCtx> {
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
        Ok(wasi.build().filesystem().clone())
    }
}

/// A handler's mounts, and the threads that read and write what is in them.
///
/// An operation on a file cannot be taken back: on a server that does not answer, or a FIFO that
/// nobody writes to, it holds its thread for as long as the kernel likes. With threads of its own, a
/// handler whose files hang keeps only itself waiting. And since each handler has its own, the kernel
/// holds them to its mounts: whoever finds a way past the rules of WASI stands before Landlock's.
pub struct Files {
    mounted: Arc<Mounted>,
    /// Where the scripts of its jobs lie; `None`: it is no interpreter.
    scripts: Option<Arc<Scripts>>,
    granted: WasiFilesystemCtx,
    threads: Threads,
}

impl Files {
    /// Says how many descriptors a handler with so many mounts holds, those of its threads among them.
    pub fn held_idle(mounts: usize) -> usize {
        // Each mount for the kernel and for guests; the ruleset, and of the threads' runtime epoll twice,
        // its waker and the pipe of signals.
        2 * mounts + 5
    }

    /// Says how many descriptors a job is given before it opens anything.
    pub fn held_by_job() -> usize {
        handles::TRANSIENT
    }

    /// Makes the threads of a handler that runs `jobs` jobs at once.
    ///
    /// # Errors
    /// There is no `/proc`; the host has no memory, thread or descriptor left, or confines no thread once more.
    pub fn new(mounted: Arc<Mounted>, jobs: usize) -> Result<Files> {
        let granted = mounted.granted()?;
        let threads = Threads::new(mounted.ground()?, mounted.clone(), jobs.clamp(1, AT_ONCE));
        Ok(Files { mounted, scripts: None, granted, threads })
    }

    /// Has each job find its script here.
    pub fn with_scripts(self, scripts: Option<Scripts>) -> Files {
        Files { scripts: scripts.map(Arc::new), ..self }
    }

    /// Tells a job of the script that it is to run, if it is to run one. The look for it is the work of the
    /// threads that the job has leased.
    ///
    /// # Errors
    /// There is no such script.
    pub(super) async fn direct(&self, job: &mut Job) -> Result<(), Fault> {
        let Some(scripts) = self.scripts.clone() else { return Ok(()) };
        let (mounted, env, args) = (self.mounted.clone(), job.env.clone(), job.args.clone());
        let look = move || scripts.direct(&mounted.dirs[scripts.mount], &env, &args);
        let directed = tokio::task::spawn_blocking(look).await;
        directed.map_err(|failure| Fault::Host(failure.into()))??.tell(job);
        Ok(())
    }

    pub(super) fn mounts(&self) -> &[Mount] {
        &self.mounted.mounts
    }

    /// Grants the mounts to one job, whose file operations are those threads' from then on. Opens
    /// nothing.
    ///
    /// # Errors
    /// The host has no thread or descriptor left for them.
    pub(super) fn grant(&self) -> Result<(Wasi, Lease), Fault> {
        let threads = self.threads.lease().map_err(Fault::Host)?;
        Ok((Wasi::with(self.granted.clone()), threads))
    }
}

/// Says once that there is one wall less.
fn warn_once(refusal: &anyhow::Error) {
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| warn!("file operations of handlers are not confined by the kernel: {refusal:#}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io;
    use std::path::Path;

    fn mounted(dir: &Path) -> Result<Mounted> {
        let (host, guest) = (dir.to_owned(), "/data".to_owned());
        let mount = Mount { host, guest, access: Access::Read, within: None };
        Mounted::open(vec![mount], &Untrusted::default())
    }

    fn files(dir: &Path) -> Files {
        Files::new(Arc::new(mounted(dir).unwrap()), 4).unwrap()
    }

    /// What `attempt` comes to in a thread for files.
    async fn attempt<T: Send + 'static>(
        files: &Files,
        attempt: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (_wasi, threads) = files.grant().unwrap();
        let work = async { Ok(tokio::task::spawn_blocking(attempt).await.unwrap()) };
        threads.run(Arc::default(), work).await.unwrap()
    }

    #[tokio::test]
    async fn the_threads_of_a_handler_reach_its_mounts_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        fs::write(dir.path().join("in/file"), "mine").unwrap();
        fs::write(dir.path().join("secret"), "yours").unwrap();
        let files = files(&dir.path().join("in"));
        let (inside, outside) = (dir.path().join("in/file"), dir.path().join("secret"));

        assert_eq!(attempt(&files, || fs::read(inside)).await.unwrap(), b"mine");
        let outside = attempt(&files, || fs::read(outside)).await;
        assert_eq!(outside.is_err(), files.mounted.ground().unwrap().is_some(), "{outside:?}");
    }

    #[tokio::test]
    async fn a_directory_that_takes_the_place_of_a_mount_is_out_of_reach() {
        let dir = tempfile::tempdir().unwrap();
        let (host, file) = (dir.path().join("data"), dir.path().join("data/file"));
        fs::create_dir(&host).unwrap();
        let files = files(&host);
        let before = mounted(&host).unwrap();

        fs::rename(&host, dir.path().join("old")).unwrap();
        fs::create_dir(&host).unwrap();
        fs::write(&file, "new").unwrap();

        let read = attempt(&files, || fs::read(file)).await;
        assert_eq!(read.is_err(), files.mounted.ground().unwrap().is_some(), "{read:?}");
        assert!(files.mounted.is_same(&before) && !before.is_same(&mounted(&host).unwrap()));
    }

    #[test]
    fn a_thread_that_was_confined_too_often_is_no_host_without_landlock() {
        let dir = tempfile::tempdir().unwrap();
        let mounted = mounted(dir.path()).unwrap();
        let Some(ground) = mounted.ground().unwrap() else { return };

        let refused = std::thread::scope(|scope| {
            let often = scope.spawn(|| {
                while ground.confine().is_ok() {}
                mounted.ground().map(drop).unwrap_err()
            });
            often.join().unwrap()
        });

        let told = format!("{refused:#}");
        assert!(told.contains("to the mounts") && told.contains("restart the daemon"), "{told}");
    }

    #[test]
    fn a_mount_that_is_not_there_is_named() {
        let refusal = mounted(Path::new("/nowhere")).map(drop).unwrap_err();

        assert!(format!("{refusal:#}").contains("open the mount /nowhere"), "{refusal:#}");
    }
}
