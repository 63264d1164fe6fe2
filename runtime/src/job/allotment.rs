//! A job's part of the budgets that all jobs share.

use crate::budget::Portion;

/// The budget that a job needs before it starts. Both parts may grow while it runs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Needs {
    /// Its initial memories and tables, in bytes.
    pub memory: usize,
    /// File descriptors.
    pub descriptors: usize,
}

/// What a job has taken from the shared budgets. Dropping it gives everything back.
#[derive(Debug)]
pub struct Allotment {
    /// Memory, in units of [`Needs::PAGE`] bytes.
    pub memory: Portion,
    /// File descriptors.
    pub descriptors: Portion,
}

impl Needs {
    /// A unit of memory in bytes: a page of WebAssembly.
    pub const PAGE: usize = 64 << 10;
}
