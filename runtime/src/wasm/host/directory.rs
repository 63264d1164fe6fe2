//! A cursor over a directory that reads its entries from the kernel on demand.
//!
//! wasmtime-wasi reads a whole directory into host memory, and for preview 1 does so in every call.
//! Here the kernel keeps the position, and only a few entries are held at once.

use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash as _, Hasher as _};
use std::io;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, statat};

/// An open directory. It has a descriptor of its own, so its position is not shared.
pub(super) struct Listing {
    dir: Dir,
    /// The number by which WASI identifies the directory.
    number: u64,
    /// The position of the next read.
    at: u64,
    /// An entry that was read but did not fit.
    unread: Option<DirEntry>,
}

/// One entry.
pub(super) struct DirEntry {
    pub(in crate::wasm) name: String,
    pub(in crate::wasm) kind: FileType,
    /// The position after the entry, as the kernel numbers it.
    pub(in crate::wasm) next: u64,
}

impl Listing {
    /// Opens a directory for reading. Blocks, as all methods here do.
    pub(in crate::wasm) fn open(dir: &File) -> io::Result<Listing> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(dir, c".", flags, Mode::empty())?;
        let found = fstat(&dir)?;
        let number = number(found.st_dev, found.st_ino);
        Ok(Listing { dir: Dir::new(dir)?, number, at: 0, unread: None })
    }

    /// Returns the number by which WASI identifies the directory.
    pub(in crate::wasm) fn number(&self) -> u64 {
        self.number
    }

    /// Moves to a position that an entry has given, or to the beginning, which is 0.
    pub(super) fn seek(&mut self, place: u64) -> io::Result<()> {
        if place != self.at || place == 0 {
            self.unread = None;
            self.dir.seek(place.cast_signed())?;
            self.at = place;
        }
        Ok(())
    }

    /// Reads the next entry, including `.` and `..`. Returns `None` at the end.
    ///
    /// Skips names that are not UTF-8: WASI cannot express them, so no guest could open them.
    pub(in crate::wasm) fn next(&mut self) -> io::Result<Option<DirEntry>> {
        if let Some(entry) = self.unread.take() {
            self.at = entry.next;
            return Ok(Some(entry));
        }
        while let Some(found) = self.dir.read() {
            let found = found?;
            self.at = found.offset().cast_unsigned();
            let Ok(name) = found.file_name().to_str() else { continue };
            let kind = match found.file_type() {
                FileType::Unknown => match statat(self.dir.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    // It was removed meanwhile.
                    Err(_) => FileType::Unknown,
                },
                kind => kind,
            };
            return Ok(Some(DirEntry { name: name.to_owned(), kind, next: self.at }));
        }
        Ok(None)
    }

    /// Returns the number by which WASI identifies the entry's file, or 0 if the file was removed meanwhile.
    pub(super) fn identify(&self, entry: &DirEntry) -> io::Result<u64> {
        if matches!(&*entry.name, "." | "..") {
            // `..` of a mount must not reveal the directory above it.
            return Ok(self.number);
        }
        // On some file systems, such as overlayfs, the number that the kernel lists differs from that of stat.
        let found = statat(self.dir.fd()?, &entry.name, AtFlags::SYMLINK_NOFOLLOW);
        Ok(found.map_or(0, |found| number(found.st_dev, found.st_ino)))
    }

    /// Puts back an entry that was read at `place`; it is read again next.
    pub(in crate::wasm) fn unread(&mut self, entry: DirEntry, place: u64) {
        (self.unread, self.at) = (Some(entry), place);
    }

    /// Returns the position of the next read.
    pub(in crate::wasm) fn place(&self) -> u64 {
        self.at
    }
}

/// Hashes a device and an inode as wasmtime-wasi does, so that programs can compare both numbers.
fn number(device: u64, inode: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (device, inode).hash(&mut hasher);
    hasher.finish()
}

/// Returns the number by which WASI identifies a file.
pub(super) fn number_of(file: &File) -> io::Result<u64> {
    let found = fstat(file)?;
    Ok(number(found.st_dev, found.st_ino))
}

/// The directory that a job read last. It stays open until it is read to the end.
#[derive(Default)]
pub(in crate::wasm) struct LastListing(pub(super) Option<Listing>);

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    fn names(listing: &mut Listing) -> Vec<String> {
        let mut names: Vec<_> =
            std::iter::from_fn(|| listing.next().unwrap()).map(|entry| entry.name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_name_that_wasi_cannot_say_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "ü"].map(OsStr::new).into_iter().chain([OsStr::from_bytes(b"\xff\xfe")]) {
            std::fs::write(dir.path().join(name), "").unwrap();
        }

        let mut listing = Listing::open(&File::open(dir.path()).unwrap()).unwrap();

        assert_eq!(names(&mut listing), [".", "..", "a", "b", "ü"]);
        assert!(listing.next().unwrap().is_none());
    }

    #[test]
    fn a_listing_goes_on_at_each_place_and_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        (0..1000).for_each(|number| std::fs::write(dir.path().join(format!("{number}")), "").unwrap());
        let open = || Listing::open(&File::open(dir.path()).unwrap()).unwrap();
        let (mut whole, mut pieces) = (open(), open());

        let mut place = 0;
        while let Some(entry) = whole.next().unwrap() {
            pieces.seek(place).unwrap();
            let same = pieces.next().unwrap().unwrap();
            assert_eq!(same.name, entry.name);
            // As a caller does with an entry that did not fit.
            pieces.unread(same, place);
            place = entry.next;
            if place % 3 == 0 {
                pieces = open();
            }
        }
        std::fs::write(dir.path().join("new"), "").unwrap();
        whole.seek(0).unwrap();

        assert!(names(&mut whole).contains(&"new".to_owned()));
    }

    #[test]
    fn an_entry_has_the_number_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let opened = File::open(dir.path()).unwrap();
        let mut listing = Listing::open(&opened).unwrap();
        let entry = std::iter::from_fn(|| listing.next().unwrap()).find(|entry| entry.name == "file");

        let number = listing.identify(&entry.unwrap()).unwrap();

        assert_eq!(number, number_of(&File::open(dir.path().join("file")).unwrap()).unwrap());
        assert_ne!(number, listing.number());
    }
}
