//! The bound on what a job holds open.

use std::error::Error as StdError;
use std::fs::File;
use std::sync::{Arc, Weak};

use wasmtime::component::{Resource, ResourceTable, ResourceTableError};
use wasmtime::{Error, Store};
use wasmtime_wasi::filesystem::Descriptor;

use crate::budget::Portion;

/// Entries of a table that a call takes for its own duration, such as the stream that a read of a
/// file is made of. Without them, a call would find the table full, and wasmtime-wasi ends a guest
/// that fills it.
const PASSING: usize = 16;

/// Bounds what a component has in wasmtime's own tables, where handles stand once more, and those of
/// resources that it made up itself alone.
pub(super) fn bound_own<T>(store: &mut Store<T>, handles: usize) {
    // A component that goes beyond is ended with words that only [`is_exceeded`] knows, so that it
    // should go beyond another bound first.
    store.set_max_component_handles(handles * 4);
    // A stream or future is three entries and two handles.
    if let Some(table) = store.concurrent_resource_table() {
        bound(table, handles * 3);
    }
}

/// Reports whether a guest was ended because it went beyond a bound on its handles.
pub(super) fn is_exceeded(error: &Error) -> bool {
    let full =
        |cause: &(dyn StdError + 'static)| matches!(cause.downcast_ref(), Some(ResourceTableError::Full));
    error.chain().any(full) || error.root_cause().to_string().ends_with(EXCEEDED)
}

/// What wasmtime 48.0.8 says of a component beyond its most handles. It has no type for it.
const EXCEEDED: &str = "store handle limit exceeded";

/// Bounds a job's handles; a component that goes beyond is ended, as its interfaces have no error for it.
pub(super) fn bound(table: &mut ResourceTable, handles: usize) {
    table.set_max_capacity(handles + PASSING);
}

/// Reports whether one more handle stays within the bound: the table does not tell how full it is,
/// but takes this one and all that pass, or does not.
pub(super) fn has_room(table: &mut ResourceTable) -> bool {
    let taken: Vec<_> = (0..=PASSING).map_while(|_| table.push(()).ok()).collect();
    let room = taken.len() > PASSING;
    for entry in taken {
        // It was put there above, and nothing has seen it.
        let _there = table.delete(entry);
    }
    room
}

/// Descriptors that a call takes for its own duration: a directory that is read, a file that is opened
/// to be looked at.
const TRANSIENT: usize = 2;

/// Says how many descriptors a job has from its start that sees so many mounts.
pub(super) fn base(mounts: usize) -> usize {
    mounts + TRANSIENT
}

/// The file descriptors that a job holds, out of what all jobs share.
pub(super) struct Opened {
    /// `None`: they are not counted.
    portion: Option<Portion>,
    /// What it has from its start.
    base: usize,
    /// At least as many as are open besides, up to the next count.
    open: usize,
    /// What a component has opened: a stream keeps its file open, whatever becomes of the descriptor.
    files: Vec<Weak<File>>,
}

impl Opened {
    pub(super) fn new(portion: Option<Portion>) -> Opened {
        let base = portion.as_ref().map_or(0, Portion::units);
        Opened { portion, base, open: 0, files: Vec::new() }
    }

    /// Reports whether one more may be opened, and takes it out of what all jobs share. `count` says how
    /// many are open, which costs a look at each.
    fn has_room(&mut self, count: impl FnOnce(&mut Vec<Weak<File>>) -> usize) -> bool {
        let Some(portion) = &mut self.portion else { return true };
        if self.base + self.open < portion.units() {
            return true;
        }
        self.open = count(&mut self.files);
        let taken = self.base + self.open;
        // So much more at a time that the counts are few: each is for an eighth of what it looks at.
        let ahead = self.open / 8 + 1;
        portion.shrink_to(taken + ahead);
        taken < portion.units() || portion.grow(ahead) || portion.grow(1)
    }

    /// Reports whether a core module may open one more. All that it has open stands in its table.
    pub(super) fn has_room_in(&mut self, table: &mut ResourceTable) -> bool {
        let mounts = self.base.saturating_sub(TRANSIENT);
        self.has_room(|_| {
            table.iter_mut().filter(|entry| entry.is::<Descriptor>()).count().saturating_sub(mounts)
        })
    }

    /// Reports whether a component may open one more.
    pub(super) fn has_room_for_component(&mut self) -> bool {
        self.has_room(|files| {
            files.retain(|file| file.strong_count() > 0);
            files.len()
        })
    }

    /// Notes that a core module has opened one.
    pub(super) fn note(&mut self) {
        self.open += 1;
    }

    /// Notes what a component has opened.
    pub(super) fn note_file(&mut self, file: Option<Weak<File>>) {
        if self.portion.is_some() {
            self.open += 1;
            self.files.extend(file);
        }
    }
}

/// Finds the file behind a descriptor of a component.
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

    use super::*;

    #[test]
    fn a_component_that_makes_up_resources_without_end_is_known_for_it() {
        let hoard = r#"(component
            (type $r (resource (rep i32)))
            (core func $new (canon resource.new $r))
            (core module $m
                (import "" "new" (func $new (param i32) (result i32)))
                (func (export "f") (loop (drop (call $new (i32.const 0))) (br 0))))
            (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
            (func (export "f") (canon lift (core func $i "f"))))"#;
        let engine = Engine::default();
        let mut store = Store::new(&engine, ());
        bound_own(&mut store, 20);
        let component = Component::new(&engine, wat::parse_str(hoard).unwrap()).unwrap();
        let instance = Linker::new(&engine).instantiate(&mut store, &component).unwrap();

        let hoarding = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
        let end = hoarding.call(&mut store, ()).unwrap_err();

        assert!(is_exceeded(&end), "{end:?}");
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
