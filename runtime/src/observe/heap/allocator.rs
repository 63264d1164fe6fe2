//! The allocator of the program: mimalloc, which tells the heap profiler what it does while a profile is taken.

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};

use super::samples;

/// mimalloc, sampled while a heap profile runs. Otherwise a call costs one additional load.
///
/// The functions with an alignment are for what needs one: they are slower, and waste memory beyond 1 KiB.
pub struct ProfiledAllocator;

/// The alignment of every block of mimalloc that is at least as large, in bytes (its `MI_MAX_ALIGN_SIZE`).
const NATURAL: usize = 16;

// SAFETY: every call is passed on to mimalloc, and its result is returned unchanged. A block has the alignment of its
// layout: by `NATURAL`, or because it is asked for. The profiler only looks at addresses, and does not use the memory.
unsafe impl GlobalAlloc for ProfiledAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        noted(block(layout), layout.size())
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, _layout: Layout) {
        // Before another thread can get the same memory.
        if samples::is_on() {
            samples::freed(memory.addr());
        }
        // SAFETY: the caller has it from a function of this allocator.
        unsafe { mi_free(memory.cast()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        noted(zeroed(layout), layout.size())
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if samples::is_on() {
            samples::freed(memory.addr());
        }
        // SAFETY: as in `dealloc`.
        noted(unsafe { resized(memory, layout.align(), size) }, size)
    }
}

/// Allocates a block.
#[inline]
fn block(layout: Layout) -> *mut u8 {
    let (size, align) = (layout.size(), layout.align());
    let memory = match is_natural(size, align) {
        // SAFETY: mimalloc takes any size and any power of two.
        true => unsafe { mi_malloc(size) },
        // SAFETY: as above.
        false => unsafe { mi_malloc_aligned(size, align) },
    };
    memory.cast()
}

/// Allocates a block of zeros.
#[inline]
fn zeroed(layout: Layout) -> *mut u8 {
    let (size, align) = (layout.size(), layout.align());
    let memory = match is_natural(size, align) {
        // SAFETY: as in `block`.
        true => unsafe { mi_zalloc(size) },
        // SAFETY: as in `block`.
        false => unsafe { mi_zalloc_aligned(size, align) },
    };
    memory.cast()
}

/// Changes the size of a block of this alignment.
///
/// # Safety
/// The block is one of mimalloc, and in use.
#[inline]
unsafe fn resized(memory: *mut u8, align: usize, size: usize) -> *mut u8 {
    let moved = match is_natural(size, align) {
        // SAFETY: the caller keeps the contract; mimalloc takes its own blocks of any alignment.
        true => unsafe { mi_realloc(memory.cast(), size) },
        // SAFETY: as above.
        false => unsafe { mi_realloc_aligned(memory.cast(), size, align) },
    };
    moved.cast()
}

/// Reports whether every block of this size has the alignment.
#[inline]
const fn is_natural(size: usize, align: usize) -> bool {
    align <= NATURAL && align <= size
}

/// Tells the profiler of new memory, if a profile runs, and returns it.
#[inline]
fn noted(memory: *mut u8, size: usize) -> *mut u8 {
    if samples::is_on() && !memory.is_null() {
        samples::allocated(memory.addr(), size);
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_the_alignment_of_its_layout_however_it_was_made() {
        for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
            let is_aligned = |memory: *mut u8| memory.addr().is_multiple_of(align);
            for size in (1..=1100).chain([4095, 4097, 70_001, 1 << 20]) {
                let layout = Layout::from_size_align(size, align).unwrap();
                let (plain, zeroed) = (block(layout), zeroed(layout));
                assert!(is_aligned(plain) && is_aligned(zeroed), "{layout:?}");
                // SAFETY: the block has this size, and is initialized.
                let bytes = unsafe { std::slice::from_raw_parts(zeroed, size) };
                assert!(bytes.iter().all(|byte| *byte == 0), "{layout:?}");
                // SAFETY: both blocks are in use.
                let moved =
                    unsafe { [resized(plain, align, 2 * size), resized(zeroed, align, size.div_ceil(2))] };
                assert!(moved.into_iter().all(is_aligned), "{layout:?}");
                // SAFETY: as above; they are not used any more.
                moved.into_iter().for_each(|memory| unsafe { mi_free(memory.cast()) });
            }
        }
    }
}
