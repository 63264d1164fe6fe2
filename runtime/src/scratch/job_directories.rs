//! The directories of jobs: one per handler in that of the process, and one per job in it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use anyhow::Context as _;
use rustix::fs::{Stat, fstat};
use tracing::warn;

use super::process::{ProcessDir, UNIT, make, remove, sweep};
use super::spool::Scratch;
use crate::budget::Holder;

/// The directory of a handler's jobs.
pub struct HandlerDir {
    pub(super) process: Arc<ProcessDir>,
    scratch: Arc<Scratch>,
    name: String,
    dir: OwnedFd,
    pub(super) holder: Arc<Holder>,
    next: AtomicU64,
}

/// The directory of one job. Dropping it removes it with its content, which blocks.
pub struct JobDir {
    pub(super) handler: Arc<HandlerDir>,
    name: String,
    dir: OwnedFd,
    /// Its stat(2) when it was made.
    made: Stat,
}

impl Scratch {
    /// Makes a directory for the jobs of a handler.
    ///
    /// # Errors
    /// The scratch directory is full, or its file system has no locks.
    pub fn for_handler(self: &Arc<Self>) -> anyhow::Result<HandlerDir> {
        let process = self.process().context("make a directory for jobs in the scratch directory")?;
        let name = process.next.fetch_add(1, Ordering::Relaxed).to_string();
        let dir = make(&process.dir, &name)?;
        let (scratch, holder) = (self.clone(), Arc::default());
        Ok(HandlerDir { process, scratch, name, dir, holder, next: AtomicU64::new(0) })
    }

    fn process(&self) -> io::Result<Arc<ProcessDir>> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(process) = &*process {
            return Ok(process.clone());
        }
        let made = Arc::new(ProcessDir::make(&self.dir)?);
        *process = Some(made.clone());
        Ok(made)
    }

    /// Removes the directories that dead processes left behind. Blocks.
    pub fn sweep(&self) {
        if let Err(failure) = sweep(&self.dir) {
            warn!("the scratch files of an earlier process cannot be removed: {failure}");
        }
    }
}

impl HandlerDir {
    /// Returns the directory.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.dir
    }

    /// Makes a directory for a job. Blocks.
    ///
    /// # Errors
    /// There is no space on disk, or no free descriptor.
    pub fn for_job(self: &Arc<Self>) -> io::Result<JobDir> {
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let dir = make(&self.dir, &name)?;
        let made = fstat(&dir)?;
        Ok(JobDir { handler: self.clone(), name, dir, made })
    }
}

impl JobDir {
    /// Returns the directory.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.dir
    }

    /// Reports whether times, size and link count are those of the new directory.
    pub(super) fn looks_untouched(&self) -> bool {
        let times = |stat: &Stat| {
            let seconds = [stat.st_atime, stat.st_mtime, stat.st_ctime];
            let rest = [stat.st_atime_nsec, stat.st_mtime_nsec, stat.st_ctime_nsec];
            (seconds, rest, stat.st_nlink, stat.st_size)
        };
        fstat(&self.dir).is_ok_and(|now| times(&now) == times(&self.made))
    }

    /// Checks that `bytes` more leave enough of the file system free.
    pub(super) fn has_room(&self, bytes: u64) -> io::Result<()> {
        let HandlerDir { process, scratch, .. } = &*self.handler;
        // All that is promised to jobs may still be written.
        scratch.has_room(bytes.saturating_add(process.room.used() as u64 * UNIT))
    }
}

impl Drop for JobDir {
    fn drop(&mut self) {
        remove(&self.handler.dir, &self.name, &self.dir);
    }
}

impl Drop for HandlerDir {
    fn drop(&mut self) {
        remove(&self.process.dir, &self.name, &self.dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Path;

    fn scratch(place: &Path) -> Arc<Scratch> {
        Arc::new(Scratch::new(File::open(place).unwrap().into()))
    }

    fn job(scratch: &Arc<Scratch>) -> Arc<JobDir> {
        Arc::new(Arc::new(scratch.for_handler().unwrap()).for_job().unwrap())
    }

    /// The path of an open directory.
    fn path(dir: &JobDir) -> std::path::PathBuf {
        crate::confine::place_of(dir.descriptor()).unwrap()
    }

    fn is_full<T>(outcome: io::Result<T>) -> bool {
        outcome.is_err_and(|error| error.kind() == io::ErrorKind::StorageFull)
    }

    #[test]
    fn what_a_job_has_is_bounded_by_what_there_is_and_not_by_what_there_was() {
        let place = tempfile::tempdir().unwrap();
        let dir = job(&scratch(place.path()));
        let mut quota = dir.quota(1 << 20);
        let file = path(&dir).join("file");

        for _ in 0..10 {
            quota.take_entry().unwrap();
            quota.take_bytes(1 << 20).unwrap();
            File::create(&file).unwrap().set_len(1 << 20).unwrap();
            assert!(is_full(quota.take_bytes(1)) && !quota.take_at_hand(1));
            fs::remove_file(&file).unwrap();
        }
        // A file without a name exists until it is closed.
        quota.take_bytes(1 << 20).unwrap();
        let open = Arc::new(File::create(&file).unwrap());
        open.set_len(1 << 20).unwrap();
        quota.opened().lock().unwrap().push(Arc::downgrade(&open));
        fs::remove_file(&file).unwrap();
        assert!(is_full(quota.take_bytes(1)));
        drop(open);
        quota.take_bytes(1 << 20).unwrap();
        assert!(is_full(quota.take_bytes(u64::MAX)));
    }

    #[test]
    fn names_are_bounded_as_well_as_bytes() {
        let place = tempfile::tempdir().unwrap();
        let dir = job(&scratch(place.path()));
        let mut quota = dir.quota(64 << 10);

        for number in 0..64 {
            quota.take_entry().unwrap();
            fs::create_dir(path(&dir).join(number.to_string())).unwrap();
        }

        assert!(is_full(quota.take_entry()));
        fs::remove_dir(path(&dir).join("0")).unwrap();
        quota.take_entry().unwrap();
    }

    #[test]
    fn a_directory_in_which_a_job_made_something_is_not_kept_whatever_the_clock_says() {
        let place = tempfile::tempdir().unwrap();
        let dir = job(&scratch(place.path()));
        let mut quota = dir.quota(1 << 20);
        assert!(quota.is_untouched());

        // As on a file system where the directory's times do not change within a clock tick.
        quota.take_entry().unwrap();

        assert!(dir.looks_untouched() && !quota.is_untouched());
    }

    #[test]
    fn the_room_of_a_job_is_given_back_when_its_directory_is_gone_and_not_before() {
        let place = tempfile::tempdir().unwrap();
        let dir = job(&scratch(place.path()));
        let (handler, path) = (dir.handler.clone(), path(&dir));
        let room = || handler.process.room.used();
        let mut quota = dir.quota(8 << 20);
        quota.take_bytes(8 << 20).unwrap();

        drop(dir);

        assert!(path.exists() && room() == 8);
        drop(quota);
        assert!(!path.exists() && room() == 0);
    }

    #[test]
    fn a_directory_goes_with_its_job_and_those_around_it_with_the_last() {
        let place = tempfile::tempdir().unwrap();
        let scratch = scratch(place.path());
        let (first, second) = (job(&scratch), job(&scratch));
        let paths = [&first, &second].map(|dir| path(dir));
        fs::create_dir_all(paths[0].join("a/b")).unwrap();
        assert!(!first.quota(1 << 20).is_untouched() && second.quota(1 << 20).is_untouched());

        drop(first);

        assert!(!paths[0].exists() && paths[1].exists());
        drop((second, scratch));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_dead_process_left_is_swept_and_what_a_living_one_has_is_not() {
        let place = tempfile::tempdir().unwrap();
        let living = job(&scratch(place.path()));
        let dead = place.path().join("jobs-1-0/7/0/deep");
        fs::create_dir_all(&dead).unwrap();
        fs::write(dead.join("file"), "left").unwrap();
        fs::write(place.path().join("other"), "").unwrap();
        // The names that an interrupted sweep left.
        for name in [&b"\xff0"[..], b"\xff1", b"\xff2"] {
            let moved = place.path().join("jobs-2-0").join(std::ffi::OsStr::from_bytes(name));
            fs::create_dir_all(moved.join("a/b/c")).unwrap();
            fs::write(moved.join("file"), "").unwrap();
        }
        fs::create_dir_all(place.path().join("jobs-2-0/a/b/c/d")).unwrap();

        scratch(place.path()).sweep();

        assert!(path(&living).exists() && !place.path().join("jobs-1-0").exists());
        assert!(!place.path().join("jobs-2-0").exists());
        assert!(place.path().join("other").exists());
    }
}
