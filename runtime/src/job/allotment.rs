//! What a job needs of what all jobs share, and what it is given of it.

use crate::budget::Portion;

/// What a job needs before it starts; both grow while it runs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Needs {
    /// Its first memories and tables, in bytes.
    pub memory: usize,
    /// File descriptors.
    pub descriptors: usize,
}

/// What a job has of what all jobs share. Dropping it gives all of it back.
#[derive(Debug)]
pub struct Allotment {
    /// Memory, in units of [`Needs::PAGE`] bytes.
    pub memory: Portion,
    /// File descriptors.
    pub descriptors: Portion,
}

impl Needs {
    /// Bytes of a unit of memory: a page of WebAssembly.
    pub const PAGE: usize = 64 << 10;
}
