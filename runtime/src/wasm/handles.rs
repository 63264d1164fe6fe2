//! The bound on what a job holds open.

use std::error::Error as StdError;

use wasmtime::component::{ResourceTable, ResourceTableError};
use wasmtime::{Error, Store};

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
