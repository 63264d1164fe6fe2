//! Small files of a directory that are kept in memory, so that a request neither reads nor describes them again.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use http::header::DATE;
use http::{HeaderMap, HeaderValue};

use super::direct_path::DirectPath;
use super::opened::FileVersion;
use crate::coarse_clock;

/// The most bytes of a file that is kept.
pub(super) const LARGEST: usize = 64 << 10;

/// The most bytes that the kept files of a directory take.
const MOST: usize = 4 << 20;

/// The bytes that a kept file takes in addition to its content and its path: for its entry, for its place, and for its
/// fields. Eight fields take 900 bytes.
const BESIDE: usize = 1536;

/// How long a file is used after it was read, and held open if at all. Its times tell of every change but those through a
/// memory mapping whose pages are dirty already (mmap(2), "Timestamps changes for file-backed mappings"). The names of its
/// path were in the kernel's cache when it was read, and are hardly dropped within this time.
pub(super) const FRESH: Duration = Duration::from_secs(10);

/// How many paths are remembered that were read once.
const READ_ONCE: usize = 256;

/// A small file, as it was read.
#[derive(Debug)]
pub struct KeptFile {
    /// The file, and its state.
    pub version: FileVersion,
    /// Its whole content.
    pub content: Bytes,
    /// The fields of the response with the whole file, and behind them an empty `Date`, which is set in each response. The
    /// copy for a response has no room for one more field.
    pub fields: HeaderMap,
    /// Its path, to be looked up without opening it. `None` if that does not do for this path.
    pub(super) direct: Option<DirectPath>,
    /// When it was read, by the coarse clock.
    read: Duration,
}

/// The files of a directory that are kept, by their paths.
///
/// A path is kept when it is read for the second time, so that a client that asks for all files of a large directory
/// replaces nothing. Of those that are kept, a file goes that was not used since room was last made.
#[derive(Default, Debug)]
pub(super) struct KeptFiles(RwLock<KeptEntries>);

#[derive(Default, Debug)]
struct KeptEntries {
    /// The place of each path in `entries`. All are paths of files, so no client can choose a collision.
    places: HashMap<Arc<str>, usize, RandomState>,
    entries: Vec<KeptEntry>,
    /// The entry that is looked at first when room is made.
    hand: usize,
    /// The bytes that the entries take.
    bytes: usize,
    /// Digests of paths that were read once. A digest replaces that of another path with the same place.
    read_once: Vec<u64>,
}

#[derive(Debug)]
struct KeptEntry {
    path: Arc<str>,
    file: Arc<KeptFile>,
    /// Whether it was used since it was looked at to make room.
    is_used: AtomicBool,
}

impl KeptFile {
    /// Makes a file that was read just now.
    pub(super) fn new(
        version: FileVersion,
        direct: Option<DirectPath>,
        content: Bytes,
        mut fields: HeaderMap,
    ) -> KeptFile {
        fields.insert(DATE, HeaderValue::from_static(""));
        // The copy has room for these fields and no more.
        KeptFile { version, content, fields: fields.clone(), direct, read: coarse_clock::monotonic() }
    }

    /// Returns `length` bytes of the content from `first` on, as far as they are there.
    pub fn part(&self, first: u64, length: u64) -> Bytes {
        let end = self.content.len();
        let place = |offset: u64| usize::try_from(offset).map_or(end, |offset| offset.min(end));
        self.content.slice(place(first)..place(first.saturating_add(length)))
    }
}

impl KeptFiles {
    /// Finds the file that was read at this path, unless that is long ago.
    pub(super) fn find(&self, path: &str) -> Option<Arc<KeptFile>> {
        let kept = self.kept();
        let entry = &kept.entries[*kept.places.get(path)?];
        if coarse_clock::monotonic().saturating_sub(entry.file.read) > FRESH {
            return None;
        }
        // Written only where it changes, so that the processors share the line.
        if !entry.is_used.load(Ordering::Relaxed) {
            entry.is_used.store(true, Ordering::Relaxed);
        }
        Some(entry.file.clone())
    }

    /// Notes that a file was read at this path. Reports whether to keep it: the path has one, or was read before.
    pub(super) fn note_read(&self, path: &str) -> bool {
        let mut kept = self.kept_mut();
        kept.places.contains_key(path) || kept.note_read(path)
    }

    /// Keeps a file that was read at this path, in place of the one before.
    pub(super) fn keep(&self, path: &str, file: KeptFile) {
        let mut kept = self.kept_mut();
        kept.remove(path);
        let entry = KeptEntry { path: path.into(), file: Arc::new(file), is_used: AtomicBool::new(false) };
        while kept.bytes + entry.size() > MOST && kept.make_room() {}
        kept.add(entry);
    }

    /// Forgets a file that its path no longer leads to.
    pub(super) fn forget(&self, path: &str, file: &Arc<KeptFile>) {
        let mut kept = self.kept_mut();
        let known = kept.places.get(path).map(|place| &kept.entries[*place].file);
        if known.is_some_and(|known| Arc::ptr_eq(known, file)) {
            kept.remove(path);
        }
    }

    fn kept(&self) -> RwLockReadGuard<'_, KeptEntries> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept_mut(&self) -> RwLockWriteGuard<'_, KeptEntries> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeptEntries {
    /// Notes that a path was read. Reports whether that was noted before.
    fn note_read(&mut self, path: &str) -> bool {
        let digest = self.places.hasher().hash_one(path);
        self.read_once.resize(READ_ONCE, 0);
        let place = usize::try_from(digest % READ_ONCE as u64).unwrap_or_default();
        mem::replace(&mut self.read_once[place], digest) == digest
    }

    fn add(&mut self, entry: KeptEntry) {
        self.bytes += entry.size();
        self.places.insert(entry.path.clone(), self.entries.len());
        self.entries.push(entry);
    }

    fn remove(&mut self, path: &str) {
        if let Some(place) = self.places.get(path).copied() {
            self.remove_at(place);
        }
    }

    /// Removes an entry. The last one takes its place.
    fn remove_at(&mut self, place: usize) {
        let removed = self.entries.swap_remove(place);
        self.places.remove(&removed.path);
        self.bytes -= removed.size();
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.path.clone(), place);
        }
    }

    /// Removes the first entry from the hand on that was not used since the hand passed it. Returns `false` if there is
    /// none.
    fn make_room(&mut self) -> bool {
        while !self.entries.is_empty() {
            self.hand %= self.entries.len();
            if !mem::take(self.entries[self.hand].is_used.get_mut()) {
                self.remove_at(self.hand);
                return true;
            }
            self.hand += 1;
        }
        false
    }
}

impl KeptEntry {
    /// Returns the bytes that it takes.
    fn size(&self) -> usize {
        self.file.content.len() + self.path.len() + BESIDE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(length: usize) -> KeptFile {
        let content = Bytes::from(vec![b'x'; length]);
        KeptFile::new(FileVersion::default(), None, content, HeaderMap::new())
    }

    /// Reads a file, and keeps it if it was read before.
    fn read(files: &KeptFiles, path: &str, length: usize) {
        if files.note_read(path) {
            files.keep(path, file(length));
        }
    }

    /// Keeps a file as a client does that asks for it twice.
    fn keep(files: &KeptFiles, path: &str, length: usize) {
        read(files, path, length);
        read(files, path, length);
    }

    #[test]
    fn a_path_is_kept_when_it_is_read_for_the_second_time() {
        let files = KeptFiles::default();

        read(&files, "a", 1);
        assert!(files.find("a").is_none());
        read(&files, "a", 2);

        assert_eq!(files.find("a").unwrap().content.len(), 2);
        read(&files, "a", 3);
        assert_eq!(files.find("a").unwrap().content.len(), 3, "the latest");
        assert_eq!(files.kept().entries.len(), 1);
    }

    #[test]
    fn a_file_that_was_read_long_ago_is_read_again_however_much_it_is_used() {
        let files = KeptFiles::default();
        keep(&files, "a", 1);
        let keep_of_age = |age: Duration| {
            files.keep("a", KeptFile { read: coarse_clock::monotonic() - age, ..file(1) });
        };

        keep_of_age(FRESH / 2);
        assert!((0..3).all(|_| files.find("a").is_some()));
        keep_of_age(FRESH + Duration::from_millis(1));
        assert!(files.find("a").is_none());
        files.keep("a", file(2));

        assert_eq!(files.find("a").unwrap().content.len(), 2);
    }

    #[test]
    fn a_flood_of_files_takes_no_more_room_and_a_file_in_use_stays() {
        let files = KeptFiles::default();
        keep(&files, "in use", LARGEST);
        let most = MOST / LARGEST;

        for number in 0..10 * most {
            assert!(files.find("in use").is_some(), "{number}");
            keep(&files, &number.to_string(), LARGEST);
            assert!(files.kept().bytes <= MOST);
        }

        let kept = files.kept();
        assert_eq!(kept.bytes, kept.entries.iter().map(KeptEntry::size).sum::<usize>());
        assert_eq!(kept.places.len(), kept.entries.len());
        assert!(kept.entries.len() > most / 2, "{}", kept.entries.len());
        assert!(kept.entries.iter().enumerate().all(|(place, entry)| kept.places[&entry.path] == place));
    }

    #[test]
    fn files_that_are_read_once_replace_none() {
        let files = KeptFiles::default();
        let paths: Vec<String> =
            (0..MOST / (LARGEST + 2 * BESIDE)).map(|number| format!("kept {number}")).collect();
        paths.iter().for_each(|path| keep(&files, path, LARGEST));

        (0..1000).for_each(|number| read(&files, &number.to_string(), LARGEST));

        assert!(paths.iter().all(|path| files.find(path).is_some()));
    }

    #[test]
    fn empty_files_are_bounded_too() {
        let files = KeptFiles::default();

        (0..2 * MOST / BESIDE).for_each(|number| keep(&files, &number.to_string(), 0));

        let kept = files.kept();
        assert!(kept.bytes <= MOST && kept.entries.len() <= MOST / BESIDE, "{}", kept.entries.len());
    }

    #[test]
    fn a_file_is_forgotten_unless_another_was_kept_since() {
        let files = KeptFiles::default();
        keep(&files, "a", 1);
        keep(&files, "b", 1);
        let first = files.find("a").unwrap();
        files.keep("a", file(2));

        files.forget("a", &first);
        let second = files.find("a").unwrap();
        files.forget("a", &second);

        assert_eq!(second.content.len(), 2);
        assert!(files.find("a").is_none() && files.find("b").is_some());
        let kept = files.kept();
        assert_eq!((kept.entries.len(), kept.bytes), (1, kept.entries[0].size()));
    }

    #[test]
    fn a_part_of_a_file_ends_with_it() {
        let file = file(10);

        let lengths = [(0, 10), (4, 2), (4, 99), (10, 1), (99, 1), (1, u64::MAX)]
            .map(|(first, length)| file.part(first, length).len());

        assert_eq!(lengths, [10, 2, 6, 0, 0, 9]);
    }
}
