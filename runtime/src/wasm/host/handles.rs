//! Bounds on the handles and the file descriptors that a job holds.

use std::error::Error as StdError;
use std::fs::File;
use std::sync::{Arc, Weak};

use wasmtime::component::{Resource, ResourceTable, ResourceTableError};
use wasmtime::{Error, Store};
use wasmtime_wasi::filesystem::Descriptor;

use crate::budget::Portion;
use crate::job::Usage;

/// Table entries that a call takes only while it lasts, such as the stream that reads a file. Without them, a call
/// could find the table full, and wasmtime-wasi ends a guest whose table is full.
const PASSING: usize = 16;

/// Bounds a component's handles in wasmtime's own tables. These hold each handle once more, and the resources that
/// the component defines itself.
pub(super) fn bound_own<T>(store: &mut Store<T>, handles: usize) {
    // This bound is loose, so that a component exceeds another one first: wasmtime has no error type for it, and only
    // [`is_exceeded`] knows its text.
    store.set_max_component_handles(handles * 4 + pollables(handles));
    // A stream or future takes three entries for two handles.
    if let Some(table) = store.concurrent_resource_table() {
        bound(table, handles * 3);
    }
}

/// Returns how many table entries the pollables of a component may take in addition to its handles. Each takes about
/// a hundred bytes.
pub(in crate::wasm) fn pollables(handles: usize) -> usize {
    (handles * 64).min(1 << 16)
}

/// Reports whether a guest was ended because it exceeded a bound on its handles.
pub(super) fn is_exceeded(error: &Error) -> bool {
    let full =
        |cause: &(dyn StdError + 'static)| matches!(cause.downcast_ref(), Some(ResourceTableError::Full));
    error.chain().any(full) || error.root_cause().to_string().ends_with(EXCEEDED)
}

/// The error text of wasmtime 48.0.8 for a component beyond its maximum handles. It has no error type.
const EXCEEDED: &str = "store handle limit exceeded";

/// Bounds a job's handles. A component beyond the bound is ended: its interfaces have no error code for it.
pub(in crate::wasm) fn bound(table: &mut ResourceTable, handles: usize) {
    table.set_max_capacity(handles + PASSING);
}

/// Raises the bound for one call that polls `subscriptions`, until [`bound`] is called again. Each takes two entries:
/// the subject, and the wait for it.
pub(in crate::wasm) fn lend(table: &mut ResourceTable, handles: usize, subscriptions: usize) {
    table.set_max_capacity(handles + PASSING + 2 * subscriptions);
}

/// Reports whether one more handle stays within the bound. The table does not tell its length, so this tries to
/// insert the handle and all entries that a call may take.
pub(super) fn has_room(table: &mut ResourceTable) -> bool {
    let taken: Vec<_> = (0..=PASSING).map_while(|_| table.push(()).ok()).collect();
    let room = taken.len() > PASSING;
    for entry in taken {
        // Cannot fail: the entry was inserted above, and nothing else knows it.
        let _there = table.delete(entry);
    }
    room
}

/// Descriptors that a call opens only while it lasts: a directory that is read, a file that is checked.
pub(super) const TRANSIENT: usize = 2;

/// The file descriptors of a job, taken from a budget that all jobs share.
pub(in crate::wasm) struct DescriptorCount {
    /// `None` if they are not counted.
    portion: Option<Portion>,
    usage: Arc<Usage>,
    /// Descriptors that the job starts with.
    base: usize,
    /// Upper bound of those opened since. Exact after a count.
    open: usize,
    /// How many were closed since the last count.
    closed: usize,
    /// Handles in the table of a core module; `None` before the first count.
    held: Option<usize>,
    /// The files that a component has opened. A stream keeps its file open after the descriptor is dropped.
    files: Vec<Weak<File>>,
}

impl DescriptorCount {
    pub(in crate::wasm) fn new(portion: Option<Portion>, usage: Arc<Usage>) -> DescriptorCount {
        let base = portion.as_ref().map_or(0, Portion::units);
        DescriptorCount { portion, usage, base, open: 0, closed: 0, held: None, files: Vec::new() }
    }

    /// Reports whether one more may be opened, and takes it from the budget. `count` returns how many are open; it
    /// has to visit each of them.
    fn has_room(&mut self, count: impl FnOnce(&mut Vec<Weak<File>>) -> usize) -> bool {
        let taken = |opened: &DescriptorCount| opened.base + opened.open;
        if self.portion.as_ref().is_none_or(|portion| taken(self) < portion.units()) {
            return true;
        }
        self.count(count);
        let (taken, ahead) = (taken(self), self.ahead());
        let Some(portion) = &mut self.portion else { return true };
        taken < portion.units() || portion.grow(ahead) || portion.grow(1)
    }

    /// Counts the open ones again, and returns the rest to the budget.
    fn count(&mut self, count: impl FnOnce(&mut Vec<Weak<File>>) -> usize) {
        (self.open, self.closed) = (count(&mut self.files), 0);
        let units = self.base + self.open + self.ahead();
        self.portion.iter_mut().for_each(|portion| portion.shrink_to(units));
    }

    /// Takes more than one unit at a time, to make counts rare: one for every eighth of the open ones.
    fn ahead(&self) -> usize {
        self.open / 8 + 1
    }

    /// Notes that one may have been closed. Counts only after half of them were closed, so the cost of a count is
    /// spread over as many closes.
    fn close(&mut self, count: impl FnOnce(&mut Vec<Weak<File>>) -> usize) {
        self.closed += 1;
        if self.portion.is_some() && self.closed > self.open / 2 {
            self.count(count);
        }
    }

    /// Reports whether a core module may open one more. Its table holds everything that it has open.
    pub(super) fn has_room_in(&mut self, table: &mut ResourceTable) -> bool {
        self.has_room(|_| opened_in(table))
    }

    /// Reports whether a component may open one more.
    pub(super) fn has_room_for_component(&mut self) -> bool {
        self.has_room(still_open)
    }

    /// Notes that a core module has closed one.
    pub(super) fn close_in(&mut self, table: &mut ResourceTable) {
        self.held = self.held.map(|held| held.saturating_sub(1));
        self.close(|_| opened_in(table));
    }

    /// Notes that a component has closed one.
    pub(super) fn close_for_component(&mut self) {
        self.close(still_open);
    }

    /// Notes that a core module has opened one.
    pub(in crate::wasm) fn note(&mut self, table: &mut ResourceTable) {
        self.open += 1;
        // Counted only the first time, because a count visits all entries.
        let held = self.held.map_or_else(|| held_in(table), |held| held + 1);
        self.held = Some(held);
        self.usage.has_handles(held);
    }

    /// Notes a file that a component has opened.
    pub(super) fn note_file(&mut self, file: Option<Weak<File>>) {
        if self.portion.is_some() {
            self.open += 1;
            self.files.extend(file);
        }
    }
}

/// Counts the handles in a table.
pub(super) fn held_in(table: &mut ResourceTable) -> usize {
    table.iter_mut().count()
}

/// Counts the files and directories in a table that the core module has opened itself.
fn opened_in(table: &mut ResourceTable) -> usize {
    // A mount is one shared directory for all jobs of the handler, and stays open after each.
    let own = |descriptor: &Descriptor| match descriptor {
        Descriptor::File(_) => true,
        Descriptor::Dir(dir) => Arc::strong_count(&dir.dir) == 1,
    };
    table.iter_mut().filter_map(|entry| entry.downcast_ref()).filter(|found| own(found)).count()
}

/// Counts the files that are still open, and forgets the others.
fn still_open(files: &mut Vec<Weak<File>>) -> usize {
    files.retain(|file| file.strong_count() > 0);
    files.len()
}

/// Returns the index of the next handle. wasmtime 48.0.8 reuses the index that was freed last.
///
/// # Errors
/// The table is full.
pub(in crate::wasm) fn next(table: &mut ResourceTable) -> wasmtime::Result<u32> {
    let entry = table.push(())?;
    let place = entry.rep();
    table.delete(entry)?;
    Ok(place)
}

/// Returns the file whose handle has this index, or `None` for a directory.
///
/// # Errors
/// The handle is of another kind, or does not exist.
pub(super) fn file_at(table: &ResourceTable, place: u32) -> wasmtime::Result<Option<Weak<File>>> {
    Ok(match table.get(&Resource::<Descriptor>::new_borrow(place))? {
        Descriptor::File(file) => Some(Arc::downgrade(&file.file)),
        Descriptor::Dir(_) => None,
    })
}

/// Returns the file or directory behind a component's descriptor.
pub(super) fn file_of(table: &ResourceTable, descriptor: &Resource<Descriptor>) -> Option<Weak<File>> {
    match table.get(descriptor).ok()? {
        Descriptor::File(file) => Some(Arc::downgrade(&file.file)),
        Descriptor::Dir(dir) => Some(Arc::downgrade(&dir.dir)),
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::Engine;
    use wasmtime::component::{Component, Linker};
    use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
    use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
    use wasmtime_wasi::p2::bindings::filesystem::types::{
        DescriptorFlags, HostDescriptor as _, OpenFlags, PathFlags,
    };
    use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

    use super::*;
    use crate::wasm::assumptions::HOARD;

    #[test]
    fn a_component_that_makes_up_resources_without_end_is_known_for_it() {
        let engine = Engine::default();
        let mut store = Store::new(&engine, ());
        bound_own(&mut store, 20);
        let component = Component::new(&engine, wat::parse_str(HOARD).unwrap()).unwrap();
        let instance = Linker::new(&engine).instantiate(&mut store, &component).unwrap();

        let hoarding = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
        let end = hoarding.call(&mut store, ()).unwrap_err();

        assert!(is_exceeded(&end), "{end:?}");
    }

    #[test]
    fn descriptors_are_taken_as_files_are_opened_and_given_back_as_they_are_closed() {
        let budget = crate::budget::Budget::new(80);
        let mut opened = DescriptorCount::new(budget.try_take(&Arc::default(), 3), Arc::default());
        let mut files: Vec<_> = (0..)
            .map_while(|_| {
                let file = Arc::new(tempfile::tempfile().unwrap());
                opened.has_room_for_component().then(|| opened.note_file(Some(Arc::downgrade(&file))))?;
                Some(file)
            })
            .collect();

        assert_eq!((files.len(), budget.used()), (67, 70));
        files.drain(..60).for_each(|file| {
            drop(file);
            opened.close_for_component();
        });
        assert!(budget.used() < 20, "{}", budget.used());
        drop(opened);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn what_a_core_module_opens_is_counted_whether_it_has_closed_its_mounts_or_not() {
        let place = tempfile::tempdir().unwrap();
        let mut wasi = WasiCtxBuilder::new();
        wasi.preopened_dir(place.path(), "/one", FsPerms::ReadWrite).unwrap();
        wasi.preopened_dir(place.path(), "/two", FsPerms::ReadWrite).unwrap();
        let mut granted = wasi.build().filesystem().clone();
        let mut table = ResourceTable::new();
        let mut files = WasiFilesystemCtxView { ctx: &mut granted, table: &mut table };
        let mounts = files.get_directories().unwrap();
        let mut opened = Vec::new();
        for _ in 0..3 {
            let mount = Resource::new_borrow(mounts[0].0.rep());
            let (flags, none) = (DescriptorFlags::READ, OpenFlags::DIRECTORY);
            let opening = files.open_at(mount, PathFlags::empty(), ".".to_owned(), none, flags);
            opened.push(opening.await.unwrap());
        }
        assert_eq!(opened_in(&mut table), 3);

        for (mount, _) in mounts {
            table.delete(mount).unwrap();
        }

        assert_eq!(opened_in(&mut table), 3);
        opened.into_iter().for_each(|one| drop(table.delete(one).unwrap()));
        assert_eq!(opened_in(&mut table), 0);
    }

    #[test]
    fn the_place_of_the_next_handle_is_known_beforehand() {
        let mut table = ResourceTable::new();
        let mut held: Vec<_> = (0..100).map(|number| table.push(number).unwrap()).collect();
        for _ in 0..100 {
            let (first, last) = (held.remove(7), held.pop().unwrap());
            for entry in [first, last] {
                table.delete(entry).unwrap();
            }
            for _ in 0..2 {
                assert!(has_room(&mut table));
                let place = next(&mut table).unwrap();
                held.push(table.push(1).unwrap());
                assert_eq!(held.last().unwrap().rep(), place);
            }
        }
    }

    #[test]
    fn the_handles_of_a_core_module_are_counted_as_they_come_and_go() {
        let (mut table, usage) = (ResourceTable::new(), Arc::<Usage>::default());
        let mut opened = DescriptorCount::new(None, usage.clone());
        let _own: Vec<_> = (0..3).map(|number| table.push(number).unwrap()).collect();

        let held: Vec<_> = (0..10)
            .map(|number| {
                let one = table.push(number).unwrap();
                opened.note(&mut table);
                one
            })
            .collect();
        assert_eq!(usage.handles(), 13);
        for one in held {
            table.delete(one).unwrap();
            opened.close_in(&mut table);
        }
        let _again: Vec<_> = (0..11)
            .map(|number| {
                let one = table.push(number).unwrap();
                opened.note(&mut table);
                one
            })
            .collect();

        assert_eq!((usage.handles(), held_in(&mut table)), (14, 14));
    }

    #[test]
    fn there_is_room_up_to_the_bound_and_not_one_further() {
        let mut table = ResourceTable::new();
        bound(&mut table, 20);
        let mut held: Vec<_> = (0..19).map(|number| table.push(number).unwrap()).collect();

        assert!(has_room(&mut table));
        held.push(table.push(19).unwrap());
        assert!(!has_room(&mut table));
        table.delete(held.remove(3)).unwrap();
        assert!(has_room(&mut table));
    }
}
