//! Pollables, which count apart from what else a component holds.
//!
//! The JavaScript toolchains make one for each piece of a body and let the garbage collector drop them,
//! so that a bound for files and streams would end what is an ordinary program. A pollable takes a
//! hundred bytes of the host, not a descriptor or a set of fields: many of them are no harm.

use std::collections::HashMap;

/// The pollables that an instance holds.
pub(in crate::wasm) struct Pollables {
    pub(super) handles: usize,
    /// Entries of the table that the counted ones take.
    pub(super) entries: usize,
    /// The entries that each counted one takes: two where one is the clock's. Pollables of other interfaces
    /// are not here, nor those made when the bound was reached: they count as handles.
    pub(super) counted: HashMap<u32, usize>,
}

impl Pollables {
    /// Begins the account of an instance that may hold so many handles.
    pub(in crate::wasm) fn new(handles: usize) -> Pollables {
        Pollables { handles, entries: 0, counted: HashMap::new() }
    }
}
