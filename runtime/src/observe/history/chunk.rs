//! `EntryChunk`: some entries of one handler, packed so that adding them and dropping them costs little.

use std::sync::Arc;
use std::time::SystemTime;

use super::entry::{HistoryEntry, VersionLabel};
use super::packed::PackedEntry;

/// The bytes of an entry in the list of a chunk.
pub(super) const ENTRY: usize = size_of::<PackedEntry>();

/// The bytes for the list of entries of the largest chunks. The entries of a chunk are dropped together.
pub(super) const LARGEST: usize = 32 * ENTRY;

/// The bytes for the path of an entry. Longer paths are rare, so their memory is not kept.
const PATH: usize = 32;

/// Entries in the order in which they were added.
///
/// The entries lie one after another, and so do their paths, because memory that was written long ago is slow to reach.
/// Names are shared, because processors wait for one another when they count references to one name.
#[derive(Clone, Default)]
pub(super) struct EntryChunk {
    entries: Vec<PackedEntry>,
    names: Vec<EntryNames>,
    /// The paths of the requests.
    paths: String,
    /// The bytes that the entries hold elsewhere.
    held: usize,
}

/// An entry of a chunk, which it keeps alive.
pub struct ChunkEntry {
    chunk: Arc<EntryChunk>,
    index: usize,
}

/// What many entries have in common.
#[derive(Clone)]
struct EntryNames {
    version: Arc<VersionLabel>,
    route: Option<Arc<str>>,
}

impl EntryChunk {
    /// Drops the entries and keeps their memory for others, within `room` bytes: the processor has just fetched it to
    /// drop them.
    pub(super) fn clear(&mut self, room: usize) {
        self.entries.clear();
        self.entries.shrink_to(room / ENTRY);
        let kept = self.entries.capacity();
        self.names.clear();
        self.names.shrink_to(kept);
        self.paths.clear();
        self.paths.shrink_to(PATH * kept);
        self.held = 0;
    }

    /// Adds an entry of this version, and takes its parts out of it. The first one makes room for further ones, within
    /// `room` bytes.
    pub(super) fn add(&mut self, entry: &mut HistoryEntry, version: &Arc<VersionLabel>, room: usize) {
        let most = (room / ENTRY).max(1);
        if self.entries.is_empty() && self.entries.capacity() != most {
            self.entries = Vec::with_capacity(most);
            self.paths.reserve_exact(PATH * most);
        }
        let (path, mut route) = (self.paths.len(), None);
        if let Some(request) = &entry.request {
            route = request.route.as_ref();
            self.paths.push_str(&request.path);
        }
        let names = self.index(version, route);
        let packed = PackedEntry::of(entry, names, path);
        self.held += packed.held_bytes();
        self.entries.push(packed);
    }

    /// Returns the index of these names, which most often are those of the last entry.
    fn index(&mut self, version: &Arc<VersionLabel>, route: Option<&Arc<str>>) -> usize {
        let address = route.map(Arc::as_ptr);
        let are_same = |names: &EntryNames| {
            Arc::ptr_eq(&names.version, version) && names.route.as_ref().map(Arc::as_ptr) == address
        };
        self.names.iter().rposition(are_same).unwrap_or_else(|| {
            self.names.reserve_exact(1);
            self.names.push(EntryNames { version: version.clone(), route: route.cloned() });
            self.names.len() - 1
        })
    }

    /// Reports whether the next entry belongs into another chunk.
    pub(super) fn is_full(&self, room: usize) -> bool {
        self.entries.len() == self.entries.capacity() || self.bytes() > 2 * room
    }

    /// Returns the number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the bytes that it takes, with its place in a ring that may be half empty. 0 without entries.
    pub(super) fn bytes(&self) -> usize {
        let EntryChunk { entries, names, paths, held } = self;
        if entries.is_empty() {
            return 0;
        }
        let lists = entries.capacity() * ENTRY + names.capacity() * size_of::<EntryNames>();
        2 * size_of::<EntryChunk>() + lists + paths.capacity() + held
    }

    /// Returns the entries in their order.
    pub(super) fn entries(self: &Arc<EntryChunk>) -> impl Iterator<Item = ChunkEntry> {
        (0..self.len()).map(move |index| ChunkEntry { chunk: self.clone(), index })
    }
}

impl ChunkEntry {
    /// Returns the number of the job.
    pub fn id(&self) -> Option<u64> {
        self.packed().id
    }

    /// Returns the number of the job that called it.
    pub fn parent(&self) -> Option<u64> {
        self.packed().parent
    }

    /// Returns when the last part of it ended.
    pub fn ended(&self) -> SystemTime {
        self.packed().ended
    }

    /// Reports whether all went well.
    pub fn is_well(&self) -> bool {
        self.packed().is_well()
    }

    /// Returns the handler version.
    pub fn version(&self) -> &Arc<VersionLabel> {
        &self.chunk.names[self.packed().names].version
    }

    /// Returns the whole entry.
    pub fn unpacked(&self) -> HistoryEntry {
        let EntryChunk { entries, names, paths, .. } = &*self.chunk;
        let packed = self.packed();
        let end = entries.get(self.index + 1).map_or(paths.len(), |next| next.path);
        let mut entry = HistoryEntry { version: Some(self.version().clone()), ..packed.unpacked() };
        if let Some(request) = &mut entry.request {
            request.route.clone_from(&names[packed.names].route);
            paths[packed.path..end].clone_into(&mut request.path);
        }
        entry
    }

    fn packed(&self) -> &PackedEntry {
        &self.chunk.entries[self.index]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use http::Method;

    use super::*;
    use crate::observe::history::RequestSummary;

    fn version(version: &str) -> Arc<VersionLabel> {
        let (handler, kind) = ("one".to_owned(), "wasip1".to_owned());
        Arc::new(VersionLabel { handler, version: version.to_owned(), kind })
    }

    fn entry(request: Option<RequestSummary>) -> HistoryEntry {
        let ended = SystemTime::now();
        HistoryEntry { id: Some(1), parent: None, trace: None, version: None, ended, job: None, request }
    }

    #[test]
    fn an_entry_comes_out_as_it_was_added() {
        let (versions, route) = ([version("1"), version("2")], Arc::<str>::from("/é/{id}"));
        let begun = |path, client: &str| {
            RequestSummary::begun(Instant::now(), &Method::PUT, path, client.parse().ok())
        };
        let routed = RequestSummary { route: Some(route.clone()), ..begun("/é/7", "192.0.2.1") };
        let requests =
            [Some(routed.clone()), None, Some(begun("", "")), Some(routed), Some(begun("/b", "::1"))];
        let mut chunk = EntryChunk::default();

        for (number, request) in requests.iter().enumerate() {
            chunk.add(&mut entry(request.clone()), &versions[number / 3], 1 << 20);
        }

        let told = |version: &VersionLabel, request: Option<&RequestSummary>| {
            (version.version.clone(), format!("{request:?}"))
        };
        let added = requests.iter().enumerate();
        let added = added.map(|(number, request)| told(&versions[number / 3], request.as_ref()));
        let chunk = Arc::new(chunk);
        let unpacked = chunk.entries().map(|entry| {
            let entry = entry.unpacked();
            told(&entry.version.unwrap(), entry.request.as_ref())
        });
        assert_eq!(unpacked.collect::<Vec<_>>(), added.collect::<Vec<_>>());
        assert_eq!(chunk.names.len(), 4, "each pair once");
    }

    #[test]
    fn a_chunk_is_full_after_its_entries_or_its_bytes() {
        let room = 10 * ENTRY;
        let (version, mut chunk) = (version("1"), EntryChunk::default());

        (0..9).for_each(|_| chunk.add(&mut entry(None), &version, room));
        assert!(!chunk.is_full(room) && chunk.bytes() > room);
        chunk.add(&mut entry(None), &version, room);
        assert!(chunk.is_full(room) && chunk.bytes() < 2 * room);

        let mut tiny = EntryChunk::default();
        tiny.add(&mut entry(None), &version, 0);
        assert!(tiny.is_full(0));
    }

    #[test]
    fn a_chunk_that_is_cleared_keeps_its_memory_and_not_that_of_long_paths() {
        let long = RequestSummary::begun(Instant::now(), &Method::GET, &"/x".repeat(100), None);
        let (version, mut chunk) = (version("1"), EntryChunk::default());
        let room = 2 * ENTRY;
        chunk.add(&mut entry(Some(long)), &version, room);
        let place = chunk.entries.as_ptr();

        chunk.clear(room);

        assert_eq!((chunk.len(), chunk.bytes()), (0, 0));
        chunk.add(&mut entry(None), &version, room);
        assert_eq!((chunk.entries.as_ptr(), chunk.held), (place, 0));
        assert!(!chunk.is_full(room) && chunk.bytes() < 2 * room, "{}", chunk.bytes());
        // Parts of handlers have become smaller.
        chunk.clear(0);
        let EntryChunk { entries, names, paths, .. } = &chunk;
        assert_eq!((entries.capacity(), names.capacity(), paths.capacity()), (0, 0, 0));
    }
}
