//! Counts pollables apart from the other handles of a component.
//!
//! JavaScript toolchains make one for each chunk of a body and let the garbage collector drop them. The
//! bound for files and streams would end such an ordinary program. A pollable takes a hundred bytes of the
//! host and no descriptor or set of fields, so many of them do no harm.

use std::collections::HashMap;

/// The pollables that an instance holds.
pub(in crate::wasm) struct Pollables {
    pub(super) handles: usize,
    /// Table entries that the counted pollables take.
    pub(super) entries: usize,
    /// Table entries of each counted pollable: one, or two for a clock's. Pollables of other interfaces are
    /// not counted here, nor those made beyond the bound. They count as handles.
    pub(super) counted: HashMap<u32, usize>,
}

impl Pollables {
    /// Opens the account of an instance that may hold `handles` other handles.
    pub(in crate::wasm) fn new(handles: usize) -> Pollables {
        Pollables { handles, entries: 0, counted: HashMap::new() }
    }
}
