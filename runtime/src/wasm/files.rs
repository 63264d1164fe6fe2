//! The threads that do the file operations of one handler, apart from everybody else's.

use std::future::poll_fn;
use std::os::unix::fs::MetadataExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use tokio::runtime::{Builder, Handle, Runtime};
use tracing::warn;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use super::charged::{self, Charged};
use super::{handles, module, trap};
use crate::confine::{Ground, Place, Reach};
use crate::job::{Access, Fault, Mount, Usage};

/// Operations of one handler at once. A thread each while they run; more wait in line.
const AT_ONCE: usize = 64;

/// A handler's mounts, and who opens and reads what is in them.
///
/// An operation on a file cannot be taken back: on a server that does not answer, or a FIFO that
/// nobody writes to, it holds its thread for as long as the kernel likes. With threads of its own, a
/// handler whose files hang keeps only itself waiting. And since each handler has its own, the kernel
/// holds them to its mounts: whoever finds a way past the rules of WASI stands before Landlock's.
pub struct Files {
    mounts: Arc<[Mount]>,
    most: usize,
    pool: ArcSwap<Pool>,
}

/// The threads.
struct Pool {
    /// None only while it is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
    /// Which directories the mounts were when the threads were confined to them; none: they are not.
    roots: Option<Arc<[Root]>>,
}

/// What a directory is, whatever its path: device and number.
type Root = (u64, u64);

impl Files {
    /// Says how many descriptors a handler with so many mounts holds while none of its jobs runs.
    pub fn held_idle(mounts: usize) -> usize {
        // The ruleset, and of the threads' runtime epoll twice, its waker and the pipe of signals.
        mounts + 5
    }

    /// Says how many descriptors a job that sees so many mounts holds before it opens anything.
    pub fn held_by_job(mounts: usize) -> usize {
        handles::base(mounts)
    }

    /// Makes the threads of a handler that runs `jobs` jobs at once.
    ///
    /// # Errors
    /// A mount cannot be opened, or the host has no thread left.
    pub fn new(mounts: Vec<Mount>, jobs: usize) -> Result<Files> {
        let most = jobs.clamp(1, AT_ONCE);
        let pool = ArcSwap::from_pointee(Pool::new(&mounts, most)?);
        Ok(Files { mounts: mounts.into(), most, pool })
    }

    pub(super) fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// Opens the mounts for one job, whose file operations are those threads' from then on.
    ///
    /// # Errors
    /// A mount cannot be opened.
    pub(super) async fn open(&self) -> Result<(WasiCtxBuilder, Threads), Fault> {
        let pool = self.pool.load_full();
        let opened = match pool.open(&self.mounts).await {
            // A directory was put in the place of a mount: those threads are held to the old one.
            Ok(None) => {
                let next = Arc::new(Pool::new(&self.mounts, self.most).map_err(Fault::Host)?);
                self.pool.store(next.clone());
                next.open(&self.mounts).await.map(|wasi| (wasi, Threads(next)))
            }
            opened => opened.map(|wasi| (wasi, Threads(pool))),
        };
        match opened.map_err(Fault::Host)? {
            (Some(wasi), threads) => Ok((wasi, threads)),
            (None, _) => Err(Fault::Host(anyhow::anyhow!("the mounts change faster than they are opened"))),
        }
    }
}

/// Keeps the threads of a job's files for as long as it runs.
pub(super) struct Threads(Arc<Pool>);

impl Threads {
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
    fn new(mounts: &[Mount], most: usize) -> Result<Pool> {
        // Before the ground is: what is exchanged in between is noticed by the first job.
        let roots = roots_of(mounts)?;
        let ground = ground(mounts);
        let confined = ground.is_some();
        let start = move || {
            // It was tried before; then this is for want of memory, and a second wall at that.
            if let Some(Err(refusal)) = ground.as_ref().map(Ground::confine) {
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
        Ok(Pool { runtime: Some(runtime), handle, roots: confined.then_some(roots) })
    }

    /// Opens the mounts; none: they are other directories than those the threads are confined to.
    async fn open(&self, mounts: &Arc<[Mount]>) -> Result<Option<WasiCtxBuilder>> {
        let (mounts, roots) = (mounts.clone(), self.roots.clone());
        let open = move || match roots {
            Some(then) if roots_of(&mounts)? != then => Ok(None),
            _ => preopen(&mounts).map(Some),
        };
        self.handle.spawn_blocking(open).await.context("open the mounts")?
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

/// Finds the ground that mounts are, and tries it; none, and a word in the log: not on this host.
fn ground(mounts: &[Mount]) -> Option<Ground> {
    let place = |mount: &Mount| match mount.access {
        Access::Read => Place::new(&mount.host, Reach::Read),
        Access::Write => Place::new(&mount.host, Reach::Write),
    };
    let places: Vec<Place> = mounts.iter().map(place).collect();
    let tried = Ground::new(&places).and_then(|ground| {
        let trial = std::thread::Builder::new().name("confine".to_owned());
        std::thread::scope(|scope| {
            let trial = trial.spawn_scoped(scope, || ground.confine())?;
            trial.join().unwrap_or_else(|_| anyhow::bail!("confining a thread failed"))
        })?;
        Ok(ground)
    });
    tried.inspect_err(warn_once).ok()
}

/// Says once that there is one wall less.
fn warn_once(refusal: &anyhow::Error) {
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| warn!("file operations of handlers are not confined by the kernel: {refusal:#}"));
}

/// Opens mounts. Blocks.
fn preopen(mounts: &[Mount]) -> Result<WasiCtxBuilder> {
    let mut wasi = module::bare();
    for mount in mounts {
        let permissions = match mount.access {
            Access::Read => FsPerms::ReadOnly,
            Access::Write => FsPerms::ReadWrite,
        };
        let opened = wasi.preopened_dir(&mount.host, &mount.guest, permissions);
        opened.map_err(trap::ours).with_context(|| cannot_open(mount))?;
    }
    Ok(wasi)
}

/// Finds out which directories the mounts are.
fn roots_of(mounts: &[Mount]) -> Result<Arc<[Root]>> {
    let root = |mount: &Mount| {
        let metadata = std::fs::metadata(&mount.host).with_context(|| cannot_open(mount))?;
        Ok((metadata.dev(), metadata.ino()))
    };
    mounts.iter().map(root).collect()
}

fn cannot_open(mount: &Mount) -> String {
    format!("open the mount {}", mount.host.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::{fs, io};

    fn files(dir: &Path) -> Files {
        let mount = Mount { host: dir.to_owned(), guest: "/data".to_owned(), access: Access::Read };
        Files::new(vec![mount], 4).unwrap()
    }

    /// What `attempt` comes to in a thread for files.
    async fn attempt<T: Send + 'static>(
        files: &Files,
        attempt: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (_wasi, threads) = files.open().await.unwrap();
        threads.run(Arc::default(), async { tokio::task::spawn_blocking(attempt).await.unwrap() }).await
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
        let confined = files.pool.load().roots.is_some();
        assert_eq!(outside.is_err(), confined, "{outside:?}");
    }

    #[tokio::test]
    async fn a_directory_that_takes_the_place_of_a_mount_is_the_mount_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let (host, file) = (dir.path().join("data"), dir.path().join("data/file"));
        fs::create_dir(&host).unwrap();
        let files = files(&host);
        assert!(
            attempt(&files, {
                let file = file.clone();
                || fs::read(file)
            })
            .await
            .is_err()
        );

        fs::rename(&host, dir.path().join("old")).unwrap();
        fs::create_dir(&host).unwrap();
        fs::write(&file, "new").unwrap();

        assert_eq!(attempt(&files, || fs::read(file)).await.unwrap(), b"new");
    }

    #[tokio::test]
    async fn a_mount_that_is_not_there_is_named() {
        let mount = Mount { host: "/nowhere".into(), guest: "/data".to_owned(), access: Access::Read };

        let refusal = Files::new(vec![mount], 1).map(drop).unwrap_err();

        assert!(format!("{refusal:#}").contains("open the mount /nowhere"), "{refusal:#}");
    }
}
