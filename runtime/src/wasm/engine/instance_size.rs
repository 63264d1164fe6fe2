//! How many memories and tables one instance may have.

/// The most memories and tables of one module: the sandbox of a job has room for as many.
pub(in crate::wasm) const MEMORIES: u32 = 2;
pub(in crate::wasm) const TABLES: u32 = 4;
