//! An open file, and the view of its last commit, which reads share.
//!
//! redb takes two file locks and unlocks them for every read transaction of a file that processes share: 10 us. A view
//! is one read transaction for all reads until the next commit. A commit of this process is known; one of another
//! process changes the header of the file, which a read compares with that of its view: half a microsecond.

use std::fs::File;
use std::io::IoSliceMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use redb::{Database, ReadOnlyTable, ReadableDatabase as _};
use rustix::io::ReadWriteFlags;

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
            return Ok(view.clone());
        }
        let entries = self.database.begin_read()?.open_table(ENTRIES)?;
        match commit {
            Some(commit) => {
                let view = Arc::new(View { entries, commit });
                self.view.store(Some(view.clone()));
                Ok(view)
            }
            None => Ok(Arc::new(View { entries, commit: Commit { own: 0, header: None } })),
        }
    }

    /// Counts a commit of this process. Called before the commit is acknowledged, so that later reads see it.
    pub(super) fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Release);
        self.forget();
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
        // A header that is being written differs from that of the view, or is still the same, and the commit is not
        // done: without the lock of the header, a read sees no less than with it.
        let read = rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut header)], 0, ReadWriteFlags::NOWAIT);
        (read == Ok(HEADER)).then_some(Commit { own, header: Some(header) })
    }
}
