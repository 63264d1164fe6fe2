//! A handler's view of the file system: its mounts, the `/tmp` of its jobs, and its file threads.

use std::sync::Arc;

use anyhow::Result;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;

use super::cgi_script::Scripts;
use super::guest::Wasi;
use super::handles;
use super::mounted::Mounted;
use super::threads::{ThreadLease, Threads};
use super::tmp::{Stock, TmpGuard};
use crate::job::{Allotment, Fault, Job, Mount};
use crate::scratch::HandlerDir;

/// Concurrent file operations of one handler, each with a thread. More operations queue.
const AT_ONCE: usize = 64;

/// A handler's mounts, and the threads that operate on them.
///
/// A file operation cannot be cancelled. On a server that does not answer, or a FIFO without a peer, it holds its
/// thread for as long as the kernel likes. With threads of its own, a handler whose files hang delays only itself. The
/// kernel can also confine such threads to the handler's mounts: a guest that escapes the rules of WASI still faces
/// Landlock.
pub struct Files {
    mounted: Arc<Mounted>,
    /// Where the scripts of its jobs are; `None` if the handler is not an interpreter.
    scripts: Option<Arc<Scripts>>,
    granted: WasiFilesystemCtx,
    threads: Threads,
    /// The stock of `/tmp` directories, if each job has its own.
    own: Option<Arc<Stock>>,
}

/// The settings for the `/tmp` directories; each job has its own.
pub struct OwnDirs {
    /// The scratch directory in which they are made.
    pub dir: HandlerDir,
    /// Maximum bytes in each of them.
    pub bytes: u64,
}

impl Files {
    /// Returns how many descriptors a handler holds, including those of its threads. `own` says whether its `jobs`
    /// concurrent jobs have a `/tmp` each.
    pub fn held_idle(mounts: usize, own: bool, jobs: usize) -> usize {
        // Two a mount: one for the kernel and one for guests. Five more: the ruleset, and the runtime's two epoll
        // descriptors, its waker and its pipe of signals.
        2 * mounts + 5 + if own { Stock::held_idle(mounts, jobs) } else { 0 }
    }

    /// Returns how many descriptors a job of such a handler needs before it opens a file.
    pub fn held_by_job(mounts: usize, own: bool) -> usize {
        handles::TRANSIENT + if own { Stock::held_by_job(mounts) } else { 0 }
    }

    /// Prepares the threads of a handler that runs `jobs` jobs at once.
    ///
    /// # Errors
    /// `/proc` is not mounted, or the host is out of memory, threads or descriptors, or cannot confine another thread.
    pub fn new(mounted: Arc<Mounted>, jobs: usize, own: Option<OwnDirs>) -> Result<Files> {
        let granted = mounted.granted(None)?;
        let own = own.map(|OwnDirs { dir, bytes }| Arc::new(Stock::new(mounted.clone(), dir, bytes, jobs)));
        let ground = mounted.ground(own.as_deref().map(Stock::dir))?;
        let threads = Threads::new(ground, mounted.clone(), jobs.clamp(1, AT_ONCE));
        Ok(Files { mounted, scripts: None, granted, threads, own })
    }

    /// Returns the maximum bytes in a job's `/tmp`, or `None` if jobs have none.
    pub(in crate::wasm) fn own_bytes(&self) -> Option<u64> {
        self.own.as_deref().map(Stock::bytes)
    }

    /// Returns how many descriptors a job needs before it opens a file.
    pub(in crate::wasm) fn needs(&self) -> usize {
        Files::held_by_job(self.mounted.count(), self.own.is_some())
    }

    /// Sets where the scripts of its jobs are.
    pub fn with_scripts(self, scripts: Option<Scripts>) -> Files {
        Files { scripts: scripts.map(Arc::new), ..self }
    }

    /// Sets the script that a job is to run, if the handler is an interpreter. The lookup runs on the file threads that
    /// the job has leased.
    ///
    /// # Errors
    /// No such script exists, or the lookup failed.
    pub(in crate::wasm) async fn direct(&self, job: &mut Job) -> Result<(), Fault> {
        let Some(scripts) = self.scripts.clone() else { return Ok(()) };
        let (mounted, env, args) = (self.mounted.clone(), job.env.clone(), job.args.clone());
        let look = move || scripts.direct(&mounted.dirs[scripts.mount], &env, &args);
        let directed = tokio::task::spawn_blocking(look).await;
        directed.map_err(|failure| Fault::Host(failure.into()))??.tell(job);
        Ok(())
    }

    pub(in crate::wasm) fn mounts(&self) -> &[Mount] {
        &self.mounted.mounts
    }

    /// Leases the file threads to a job.
    ///
    /// # Errors
    /// The host cannot start them: it has no thread or descriptor left.
    pub(in crate::wasm) fn lease(&self) -> Result<ThreadLease, Fault> {
        self.threads.lease().map_err(Fault::Host)
    }

    /// Grants the mounts to one job, and a `/tmp` if each job has its own. Opens nothing else.
    ///
    /// # Errors
    /// The host has no descriptor left, or no room for the directory.
    pub(in crate::wasm) async fn grant(
        &self,
        threads: &ThreadLease,
        allotment: Option<&mut Allotment>,
    ) -> Result<(Wasi, Option<TmpGuard>), Fault> {
        let Some(own) = &self.own else { return Ok((Wasi::with(self.granted.clone()), None)) };
        let (wasi, guard) = own.grant(threads, allotment).await?;
        Ok((wasi, Some(guard)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io;
    use std::path::Path;

    use crate::confine::Untrusted;
    use crate::job::Access;
    use crate::scratch::Scratch;

    fn mounted(dir: &Path) -> Result<Mounted> {
        let (host, guest) = (dir.to_owned(), "/data".to_owned());
        let mount = Mount { host, guest, access: Access::Read, within: None };
        Mounted::open(vec![mount], &Untrusted::default())
    }

    fn files(dir: &Path) -> Files {
        Files::new(Arc::new(mounted(dir).unwrap()), 4, None).unwrap()
    }

    /// Returns what `attempt` returns on a file thread.
    async fn attempt<T: Send + 'static>(
        files: &Files,
        attempt: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let threads = files.lease().unwrap();
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
        assert_eq!(outside.is_err(), files.mounted.ground(None).unwrap().is_some(), "{outside:?}");
    }

    #[tokio::test]
    async fn the_threads_of_a_handler_reach_its_jobs_directories_and_no_other_handlers() {
        let (place, nothing) = (
            tempfile::tempdir().unwrap(),
            Arc::new(Mounted::open(Vec::new(), &Untrusted::default()).unwrap()),
        );
        let scratch = Arc::new(Scratch::new(fs::File::open(place.path()).unwrap().into()));
        let own = || OwnDirs { dir: scratch.for_handler().unwrap(), bytes: 1 << 20 };
        let (dir, other) = (own(), own());
        let path = |own: &OwnDirs| crate::confine::place_of(own.dir.descriptor()).unwrap();
        let (inside, outside) = (path(&dir).join("file"), path(&other).join("file"));
        fs::write(&outside, "yours").unwrap();
        let files = Files::new(nothing, 4, Some(dir)).unwrap();

        attempt(&files, move || fs::write(inside, "mine")).await.unwrap();
        let outside = attempt(&files, || fs::read(outside)).await;

        assert_eq!(outside.is_err(), files.mounted.ground(None).unwrap().is_some(), "{outside:?}");
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
        assert_eq!(read.is_err(), files.mounted.ground(None).unwrap().is_some(), "{read:?}");
        assert!(files.mounted.is_same(&before) && !before.is_same(&mounted(&host).unwrap()));
    }

    #[test]
    fn a_thread_that_was_confined_too_often_is_no_host_without_landlock() {
        let dir = tempfile::tempdir().unwrap();
        let mounted = mounted(dir.path()).unwrap();
        let Some(ground) = mounted.ground(None).unwrap() else { return };

        let refused = std::thread::scope(|scope| {
            let often = scope.spawn(|| {
                // The kernel has 16 layers: landlock(7).
                assert!((0..100).any(|_| ground.confine().is_err()));
                mounted.ground(None).map(drop).unwrap_err()
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
