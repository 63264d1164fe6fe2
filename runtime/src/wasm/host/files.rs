//! What a handler sees of files: its mounts, the directories of its jobs, and the threads that read and write them.

use std::sync::Arc;

use anyhow::Result;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;

use super::guest::Wasi;
use super::handles;
use super::mounted::Mounted;
use super::scripts::Scripts;
use super::threads::{Lease, Threads};
use super::tmp::{Stock, TmpGuard};
use crate::job::{Allotment, Fault, Job, Mount};
use crate::scratch::HandlerDir;

/// Operations of one handler at once. A thread each while they run; more wait in line.
const AT_ONCE: usize = 64;

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
    /// Directories for its jobs, if each has its own.
    own: Option<Arc<Stock>>,
}

/// Directories that a handler's jobs are to have to themselves.
pub struct OwnDirs {
    /// Where they are made.
    pub dir: HandlerDir,
    /// Bytes that each job may have in its own.
    pub bytes: u64,
}

impl Files {
    /// Says how many descriptors a handler with so many mounts holds that runs `jobs` jobs at once, those of its threads
    /// among them, and whose jobs have a directory each or have none.
    pub fn held_idle(mounts: usize, own: bool, jobs: usize) -> usize {
        // Each mount for the kernel and for guests; the ruleset, and of the threads' runtime epoll twice,
        // its waker and the pipe of signals.
        2 * mounts + 5 + if own { Stock::held_idle(mounts, jobs) } else { 0 }
    }

    /// Says how many descriptors a job of such a handler is given before it opens anything.
    pub fn held_by_job(mounts: usize, own: bool) -> usize {
        handles::TRANSIENT + if own { Stock::held_by_job(mounts) } else { 0 }
    }

    /// Makes the threads of a handler that runs `jobs` jobs at once.
    ///
    /// # Errors
    /// There is no `/proc`; the host has no memory, thread or descriptor left, or confines no thread once more.
    pub fn new(mounted: Arc<Mounted>, jobs: usize, own: Option<OwnDirs>) -> Result<Files> {
        let granted = mounted.granted(None)?;
        let own = own.map(|OwnDirs { dir, bytes }| Arc::new(Stock::new(mounted.clone(), dir, bytes, jobs)));
        let ground = mounted.ground(own.as_deref().map(Stock::dir))?;
        let threads = Threads::new(ground, mounted.clone(), jobs.clamp(1, AT_ONCE));
        Ok(Files { mounted, scripts: None, granted, threads, own })
    }

    /// Returns how many bytes each job may have in a directory of its own.
    pub(in crate::wasm) fn own_bytes(&self) -> Option<u64> {
        self.own.as_deref().map(Stock::bytes)
    }

    /// Says how many descriptors a job is given before it opens anything.
    pub(in crate::wasm) fn needs(&self) -> usize {
        Files::held_by_job(self.mounted.count(), self.own.is_some())
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

    /// Returns the threads whose a job's file operations are.
    ///
    /// # Errors
    /// The host has no thread or descriptor left for them.
    pub(in crate::wasm) fn lease(&self) -> Result<Lease, Fault> {
        self.threads.lease().map_err(Fault::Host)
    }

    /// Grants the mounts to one job that has such threads, and a directory of its own if it is to have that. Opens
    /// nothing else.
    ///
    /// # Errors
    /// The host has no descriptor or room left for the directory.
    pub(in crate::wasm) async fn grant(
        &self,
        threads: &Lease,
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

    /// What `attempt` comes to in a thread for files.
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
