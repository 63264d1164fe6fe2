//! The quota of a job's own directory, and its use.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fs::fstat;
use rustix::io::Errno;

use super::amount::Amount;
use super::job_directories::{HandlerDir, JobDir};
use super::process::UNIT;
use super::tree;
use crate::budget::Portion;

/// One file, directory or link is allowed per this many bytes.
const PER_FILE: u64 = 16 << 10;

/// The most entries at any size: measuring needs memory of the host for each.
const MOST_FILES: u64 = 64 << 10;

/// The bytes that an entry takes besides its content: a block, and its place in a directory.
const ENTRY: u64 = 4 << 10;

/// The use of one job's directory, against its quota.
///
/// Additions are counted in advance and removals are not counted, so the count is never below the actual use. If the
/// count exceeds the quota, the tree is measured. The caller holds the account during an addition, so the tree is
/// never measured half-way through one.
pub struct Quota {
    /// Declared before `portion`: the space is given back only after the directory is gone.
    dir: Arc<JobDir>,
    max: Amount,
    used: Amount,
    /// Whether the job has ever added an entry.
    entered: bool,
    portion: Portion,
    /// The files that the job has opened; they may have lost their names.
    opened: Arc<Mutex<Vec<Weak<File>>>>,
}

impl JobDir {
    /// Opens an account with a quota of `bytes` for the next job.
    pub fn quota(self: &Arc<Self>, bytes: u64) -> Quota {
        let HandlerDir { process, holder, .. } = &*self.handler;
        Quota::new(self.clone(), bytes, process.room.nothing(holder))
    }
}

impl Quota {
    fn new(dir: Arc<JobDir>, bytes: u64, portion: Portion) -> Quota {
        let max = Amount { files: (bytes / PER_FILE).clamp(64, MOST_FILES), bytes };
        Quota { dir, max, used: Amount::default(), entered: false, portion, opened: Arc::default() }
    }

    /// Reports whether the directory is unchanged, so that the next job may use it. The account is decisive: directory
    /// times are as coarse as the kernel's clock, and miss a file made within the same tick.
    pub fn is_untouched(&self) -> bool {
        !self.entered && self.dir.looks_untouched()
    }

    /// Counts bytes by which files will grow. Blocks unless they are [at hand](Quota::take_at_hand).
    ///
    /// # Errors
    /// `ENOSPC` if the bytes exceed the quota, or the space that is left.
    pub fn take_bytes(&mut self, bytes: u64) -> io::Result<()> {
        self.take(Amount { files: 0, bytes })
    }

    /// Counts as many of `max` bytes as there is room for, and returns how many. Blocks like
    /// [`take_bytes`](Quota::take_bytes).
    ///
    /// # Errors
    /// `ENOSPC` if there is room for fewer than `least`; nothing is counted then.
    pub fn take_room(&mut self, max: u64, least: u64) -> io::Result<u64> {
        let mut bytes = max;
        if self.sum(Amount { files: 0, bytes }).is_none() {
            self.used = self.measure()?;
            bytes = max.min(self.max.bytes.saturating_sub(self.used.bytes));
        }
        while bytes >= least.max(1) {
            match self.take_bytes(bytes) {
                Err(full) if Errno::from_io_error(&full) == Some(Errno::NOSPC) => {}
                taken => return taken.map(|()| bytes),
            }
            // The scratch directory has less room than the quota: what is at hand, or half, until that is less.
            bytes = self.at_hand().max(bytes / 2).min(bytes - 1);
        }
        Err(Errno::NOSPC.into())
    }

    /// Returns how many more bytes fit into the portion that the account holds.
    fn at_hand(&self) -> u64 {
        let held = (self.portion.units() as u64).saturating_mul(UNIT);
        held.saturating_sub(self.used.bytes).saturating_sub(self.used.files * ENTRY)
    }

    /// Counts one more file, directory or link. Blocks like [`take_bytes`](Quota::take_bytes).
    ///
    /// # Errors
    /// Those of [`take_bytes`](Quota::take_bytes).
    pub fn take_entry(&mut self) -> io::Result<()> {
        self.entered = true;
        self.take(Amount { files: 1, bytes: 0 })
    }

    /// Counts bytes if that needs no access to the disk. Returns whether it did.
    pub fn take_at_hand(&mut self, bytes: u64) -> bool {
        self.sum(Amount { files: 0, bytes })
            .filter(|sum| units(*sum) <= self.portion.units())
            .inspect(|sum| self.used = *sum)
            .is_some()
    }

    /// Returns the list of the files that the job has opened; the job adds to it.
    pub fn opened(&self) -> Arc<Mutex<Vec<Weak<File>>>> {
        self.opened.clone()
    }

    fn take(&mut self, by: Amount) -> io::Result<()> {
        let sum = match self.sum(by) {
            Some(sum) => sum,
            None => {
                self.used = self.measure()?;
                self.sum(by).ok_or(Errno::NOSPC)?
            }
        };
        let missing = units(sum).saturating_sub(self.portion.units());
        if missing > 0 {
            self.dir.has_room(missing as u64 * UNIT)?;
            if !self.portion.grow(missing) {
                return Err(Errno::NOSPC.into());
            }
        }
        self.used = sum;
        Ok(())
    }

    /// Adds to the use. Returns `None` if the sum exceeds the quota.
    fn sum(&self, by: Amount) -> Option<Amount> {
        let bytes = self.used.bytes.checked_add(by.bytes)?;
        let sum = Amount { files: self.used.files + by.files, bytes };
        (sum.files <= self.max.files && sum.bytes <= self.max.bytes).then_some(sum)
    }

    /// Measures the actual use.
    fn measure(&mut self) -> io::Result<Amount> {
        let mut found = tree::measure(self.dir.descriptor())?;
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        for file in opened.iter().filter_map(Weak::upgrade) {
            let stat = fstat(&*file)?;
            if stat.st_nlink == 0 {
                found.files += 1;
                found.bytes += stat.st_size.cast_unsigned();
            }
        }
        Ok(found)
    }
}

/// Returns how many units an amount takes.
fn units(amount: Amount) -> usize {
    let bytes = amount.bytes.saturating_add(amount.files * ENTRY);
    usize::try_from(bytes.div_ceil(UNIT)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn account(place: &std::path::Path, bytes: u64) -> (Arc<JobDir>, Quota) {
        let scratch = Arc::new(Scratch::new(File::open(place).unwrap().into()));
        let dir = Arc::new(Arc::new(scratch.for_handler().unwrap()).for_job().unwrap());
        let quota = dir.quota(bytes);
        (dir, quota)
    }

    #[test]
    fn as_many_bytes_are_taken_as_there_is_room_for_and_none_if_the_least_do_not_fit() {
        let place = tempfile::tempdir().unwrap();
        let (dir, mut quota) = account(place.path(), 1 << 20);
        let path = crate::confine::place_of(dir.descriptor()).unwrap();
        let file = File::create(path.join("file")).unwrap();
        let mut take = |max, least| {
            let taken = quota.take_room(max, least).ok();
            file.set_len(file.metadata().unwrap().len() + taken.unwrap_or(0)).unwrap();
            taken
        };

        assert_eq!(take(1_000_000, 1), Some(1_000_000));
        assert_eq!(take(1_000_000, 50_000), None);
        assert_eq!(take(1_000_000, 1), Some(48_576));
        assert_eq!(take(1, 1), None);
    }

    #[test]
    fn however_many_bytes_a_job_may_have_its_names_have_a_bound() {
        let place = tempfile::tempdir().unwrap();
        let (dir, _) = account(place.path(), 0);

        let names = [64 << 10, 1 << 20, 64 << 20, 1 << 30, 1 << 40].map(|bytes| dir.quota(bytes).max.files);

        assert_eq!(names, [64, 64, 4096, 65_536, 65_536]);
    }
}
