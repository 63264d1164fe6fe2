//! The heap profiler of the daemon itself: samples allocations by the functions that made them, while a profile is taken.
//!
//! Floors, lowest first: `stack`, `symbols`; `samples`; `allocator`.

mod allocator;
mod samples;
mod stack;
mod symbols;

pub use allocator::ProfiledAllocator;
pub use samples::{HeapCount, HeapCounts, HeapRun, PERIOD};
