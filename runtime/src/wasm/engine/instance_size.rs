//! The maximum number of memories and tables of one module.

/// The pool reserves room for this many in the instance of each job.
pub(in crate::wasm) const MEMORIES: u32 = 2;
pub(in crate::wasm) const TABLES: u32 = 4;
