//! The bound on what a job holds open.

use wasmtime::component::ResourceTable;

/// Entries of a table that a call takes for its own duration, such as the stream that a read of a
/// file is made of. Without them, a call would find the table full, and wasmtime-wasi ends a guest
/// that fills it.
const PASSING: usize = 16;

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
    use super::*;

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
