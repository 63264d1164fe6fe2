//! Whether the path of a store still leads to the file that is open.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::store::error::StoreError;

/// The time between two looks.
const LOOK: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(1) };

/// The file that a store has open.
#[derive(Default)]
pub(super) struct OpenPlace {
    /// Device and inode. `None` until a file has been open.
    identity: Option<(u64, u64)>,
    /// When the path last led to it.
    seen: Option<Instant>,
}

impl OpenPlace {
    /// Notes that the file has been opened.
    pub(super) fn note(&mut self, path: &Path) {
        (self.identity, self.seen) = (identity(path), None);
    }

    /// Checks now and then that the path leads to the file.
    ///
    /// # Errors
    /// The file was removed or replaced: what is written to it would be lost.
    pub(super) fn check(&mut self, path: &Path) -> Result<(), StoreError> {
        if self.identity.is_some() && self.seen.is_none_or(|seen| seen.elapsed() >= LOOK) {
            if identity(path) != self.identity {
                return Err(lost(path));
            }
            self.seen = Some(Instant::now());
        }
        Ok(())
    }

    /// Checks that opening the path would not make an empty file in place of a removed one.
    ///
    /// # Errors
    /// The file is gone.
    pub(super) fn check_absence(&self, path: &Path) -> Result<(), StoreError> {
        match self.identity.is_some() && identity(path).is_none() {
            true => Err(lost(path)),
            false => Ok(()),
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn lost(path: &Path) -> StoreError {
    StoreError::Unavailable(format!(
        "{} was removed or replaced while the daemon had it open: restore the file",
        path.display()
    ))
}
