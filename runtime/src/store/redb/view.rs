//! An open file, and the view of its last commit, which reads share.
//!
//! redb takes two file locks and unlocks them for every read transaction of a file that processes share: 10 us. A view
//! is one read transaction for all reads until the next commit. A commit of this process is known, and the thread that
//! commits makes the next view if the last one was read. A commit of another process changes the header of the file,
//! which a read compares with that of its view: half a microsecond.

use std::fs::File;
use std::io::IoSliceMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use redb::{Database, ReadOnlyTable, ReadableDatabase as _};
use rustix::io::{Errno, ReadWriteFlags};

use super::tables::ENTRIES;

/// The bytes of the header: redb's `DB_HEADER_SIZE`. Each commit writes its number there.
const HEADER: usize = 320;

/// An open file.
pub(super) struct OpenFile {
    /// Dropped before the database.
    view: ArcSwapOption<View>,
    pub(super) database: Database,
    /// The file, if other processes may write to it.
    shared: Option<File>,
    /// Commits of this process.
    commits: AtomicU64,
}

/// The rows of one commit.
pub(super) struct View {
    pub(super) entries: ReadOnlyTable<&'static str, (u64, u64, &'static [u8])>,
    commit: Commit,
    /// Whether a read has used it.
    is_read: AtomicBool,
}

/// What tells a commit from the next one.
#[derive(PartialEq, Eq)]
struct Commit {
    own: u64,
    /// `None` if this process alone writes.
    header: Option<[u8; HEADER]>,
}

impl OpenFile {
    pub(super) fn new(database: Database, shared: Option<File>) -> OpenFile {
        OpenFile { view: ArcSwapOption::empty(), database, shared, commits: AtomicU64::new(0) }
    }

    /// Returns the rows of the last commit. Waits neither for a commit nor for an fsync.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn view(&self) -> Result<Arc<View>, redb::Error> {
        // Taken before the view is made: a commit that comes between the two makes the view too new for its mark, and
        // the next read makes another one.
        let commit = self.commit();
        if let (Some(view), Some(commit)) = (&*self.view.load(), &commit)
            && view.commit == *commit
        {
            // A store would take the line of the cache from the other readers.
            if !view.is_read.load(Ordering::Relaxed) {
                view.is_read.store(true, Ordering::Relaxed);
            }
            return Ok(view.clone());
        }
        self.make(commit, true)
    }

    /// Makes a view, and shares it if its commit can be told from the next one.
    fn make(&self, commit: Option<Commit>, is_read: bool) -> Result<Arc<View>, redb::Error> {
        let entries = self.database.begin_read()?.open_table(ENTRIES)?;
        let is_shared = commit.is_some();
        let commit = commit.unwrap_or(Commit { own: 0, header: None });
        let view = Arc::new(View { entries, commit, is_read: AtomicBool::new(is_read) });
        if is_shared {
            self.view.store(Some(view.clone()));
        }
        Ok(view)
    }

    /// Counts a commit of this process. Called before the commit is acknowledged, so that later reads see it. Returns
    /// whether the view of the commit before was read.
    pub(super) fn committed(&self) -> bool {
        self.commits.fetch_add(1, Ordering::Release);
        self.view.swap(None).is_some_and(|view| view.is_read.load(Ordering::Relaxed))
    }

    /// Makes a view for the reads that are expected after a commit of this process.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn renew(&self) -> Result<(), redb::Error> {
        self.make(self.commit(), false).map(drop)
    }

    /// Drops the view: while it is there, no process uses the pages of its commit again.
    pub(super) fn forget(&self) {
        self.view.store(None);
    }

    /// Returns the mark of the last commit, or `None` if the header is not in memory.
    fn commit(&self) -> Option<Commit> {
        let own = self.commits.load(Ordering::Acquire);
        let Some(file) = &self.shared else { return Some(Commit { own, header: None }) };
        let mut header = [0; HEADER];
        // The header may be in the middle of a write. Then it differs from that of the view, or it is still the same and
        // the commit is not done. So a read without the lock of the header sees no less than a read with it.
        let read = rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut header)], 0, ReadWriteFlags::NOWAIT);
        let read = match read {
            // tmpfs and overlayfs are among those that cannot tell. What each commit writes is in memory there too.
            Err(Errno::OPNOTSUPP) => rustix::io::pread(file, &mut header, 0),
            read => read,
        };
        (read == Ok(HEADER)).then_some(Commit { own, header: Some(header) })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::open::{Verify, open};
    use super::*;
    use crate::store::value::Durability;

    fn set(file: &OpenFile, value: &[u8]) {
        let transaction = file.database.begin_write().unwrap();
        transaction.open_table(ENTRIES).unwrap().insert("a", (1_u64, 0_u64, value)).unwrap();
        transaction.commit().unwrap();
    }

    fn get(file: &OpenFile) -> Vec<u8> {
        file.view().unwrap().entries.get("a").unwrap().unwrap().value().2.to_vec()
    }

    #[test]
    fn reads_share_a_view_that_the_next_commit_replaces() {
        // The second one does not know RWF_NOWAIT.
        for parent in [std::env::temp_dir().as_path(), Path::new("/dev/shm")] {
            let Ok(dir) = tempfile::tempdir_in(parent) else { continue };
            let file = open(&dir.path().join("a.redb"), Durability::Sync, Verify::AfterCrash).unwrap();
            set(&file, b"1");
            assert!(!file.committed(), "nothing was read");
            assert_eq!(get(&file), b"1");
            assert!(Arc::ptr_eq(&file.view().unwrap(), &file.view().unwrap()), "{}", parent.display());

            set(&file, b"2");
            assert!(file.committed());
            file.renew().unwrap();

            let renewed = file.view.load_full().unwrap();
            assert_eq!(get(&file), b"2");
            assert!(Arc::ptr_eq(&renewed, &file.view().unwrap()), "{}", parent.display());
            set(&file, b"3");
            assert!(file.committed());
            file.renew().unwrap();
            assert!(!file.committed(), "what was renewed was not read");
        }
    }

    #[test]
    fn a_commit_of_another_process_replaces_the_view() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.redb");
        let one = open(&path, Durability::Sync, Verify::AfterCrash).unwrap();
        let other = open(&path, Durability::Sync, Verify::AfterCrash).unwrap();
        set(&one, b"1");
        assert_eq!(get(&other), b"1");

        set(&one, b"2");

        assert_eq!(get(&other), b"2");
    }
}
