//! The names in a directory, for the page that lists it.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{Dir, FileType, fstat};
use rustix::io::Errno;

use super::opened::{FileVersion, has_settled};

/// The most names of a directory that are read for its listing.
const READ: usize = 10_000;

/// The most names of a listing.
const LISTED: usize = 1000;

/// The names in a directory.
#[derive(PartialEq, Eq, Debug)]
pub struct DirListing {
    /// The first of them, in their order.
    pub entries: Vec<ListedEntry>,
    /// Whether there are more.
    pub is_cut: bool,
}

/// The listing that was made last, if its directory had settled.
#[derive(Default, Debug)]
pub(super) struct ListingCache(Mutex<Option<KeptListing>>);

/// A listing, and the directory in the state in which it was read.
#[derive(Debug)]
struct KeptListing {
    dir: FileVersion,
    listing: Arc<DirListing>,
}

/// A name in a directory.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ListedEntry {
    /// The name; names that are not UTF-8 are left out.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

impl ListingCache {
    /// Lists a directory in the order of names, without those that are never served. A long list is cut. A listing is kept
    /// until its directory changes. `leads_to` returns what a name leads to, or `None` for a name that is left out. Blocks
    /// while the file system does.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(super) fn list(
        &self,
        dir: &OwnedFd,
        leads_to: impl Fn(&str) -> Option<FileType>,
    ) -> Result<Arc<DirListing>, Errno> {
        let version = FileVersion::of(&fstat(dir)?);
        if let Some(kept) = &*self.kept()
            && kept.dir == version
        {
            return Ok(kept.listing.clone());
        }
        let listing = Arc::new(list(dir, leads_to)?);
        if has_settled(version.state.changed) {
            *self.kept() = Some(KeptListing { dir: version, listing: listing.clone() });
        }
        Ok(listing)
    }

    fn kept(&self) -> MutexGuard<'_, Option<KeptListing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports whether no name with this character is served: another system takes it for a separator or an end.
pub fn is_odd(letter: char) -> bool {
    letter == '\\' || letter.is_control()
}

fn list(dir: &OwnedFd, leads_to: impl Fn(&str) -> Option<FileType>) -> Result<DirListing, Errno> {
    let mut entries = Vec::new();
    let mut found = Dir::read_from(dir)?;
    for entry in found.by_ref().take(READ) {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name.starts_with('.') || name.contains(is_odd) {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Symlink | FileType::Unknown => leads_to(name),
            kind => Some(kind),
        };
        let is_dir = match kind {
            Some(FileType::Directory) => true,
            Some(FileType::RegularFile) => false,
            // FIFOs, sockets and devices are not served, and neither is what leads nowhere.
            Some(_) | None => continue,
        };
        entries.push(ListedEntry { name: name.to_owned(), is_dir });
    }
    entries.sort();
    let is_cut = entries.len() > LISTED || found.next().is_some();
    entries.truncate(LISTED);
    Ok(DirListing { entries, is_cut })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn a_listing_is_kept_until_its_directory_changes() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a");
        fs::write(&path, "").unwrap();
        let dir = OwnedFd::from(File::open(place.path()).unwrap());
        let version = || FileVersion::of(&fstat(&dir).unwrap());
        let last = ListingCache::default();
        let names = || -> Vec<String> {
            let listing = last.list(&dir, |_| None).unwrap();
            listing.entries.iter().map(|entry| entry.name.clone()).collect()
        };

        assert_eq!(names(), ["a"]);
        assert!(last.kept().is_none(), "it has changed just now");
        let kept = KeptListing {
            dir: version(),
            listing: Arc::new(DirListing { entries: Vec::new(), is_cut: false }),
        };
        let before = kept.dir;
        *last.kept() = Some(kept);
        assert!(names().is_empty(), "the kept one");
        // The clock of a file system has ticks.
        while version() == before {
            fs::remove_file(&path).unwrap();
            fs::write(&path, "").unwrap();
        }
        assert_eq!(names(), ["a"]);
    }
}
