//! The allocator of the program: mimalloc, which tells the heap profiler what it does while a profile is taken.

use std::alloc::{GlobalAlloc, Layout};

use mimalloc::MiMalloc;

use super::samples;

/// mimalloc, sampled while a heap profile runs. Otherwise a call costs one additional load.
pub struct ProfiledAllocator;

// SAFETY: every call is passed on to mimalloc as it came, and its result is returned unchanged. The profiler only looks at
// addresses, and does not use the memory.
unsafe impl GlobalAlloc for ProfiledAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract, which is mimalloc's too.
        let memory = unsafe { MiMalloc.alloc(layout) };
        noted(memory, layout)
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // Before another thread can get the same memory.
        if samples::is_on() {
            samples::freed(memory.addr());
        }
        // SAFETY: as above.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let memory = unsafe { MiMalloc.alloc_zeroed(layout) };
        noted(memory, layout)
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let is_on = samples::is_on();
        if is_on {
            samples::freed(memory.addr());
        }
        // SAFETY: as above.
        let moved = unsafe { MiMalloc.realloc(memory, layout, size) };
        if is_on && !moved.is_null() {
            samples::allocated(moved.addr(), size);
        }
        moved
    }
}

/// Tells the profiler of new memory, if a profile runs, and returns it.
#[inline]
fn noted(memory: *mut u8, layout: Layout) -> *mut u8 {
    if samples::is_on() && !memory.is_null() {
        samples::allocated(memory.addr(), layout.size());
    }
    memory
}
