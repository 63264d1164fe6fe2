//! What guests of every kind leave in their memory, and look for in it.

use core::arch::wasm32::memory_grow;

/// Pages of WebAssembly that are grown by.
const GROWTH: usize = 16;

/// Bytes from one mark to the next: a page of the host.
const STEP: usize = 4096;

/// Makes memory, and returns where it marks and looks.
fn grown() -> impl Iterator<Item = *mut u8> {
    let first = memory_grow::<0>(GROWTH) << 16;
    (first..first + (GROWTH << 16)).step_by(STEP).map(|at| at as *mut u8)
}

/// Marks each page of some new memory.
pub fn make() {
    // SAFETY: the memory is there and nobody else's: it was grown just now.
    grown().for_each(|at| unsafe { at.write_volatile(0x5a) });
}

/// Counts the pages of some new memory that are marked.
pub fn count() -> usize {
    // SAFETY: the memory is there and nobody else's: it was grown just now.
    grown().filter(|at| unsafe { at.read_volatile() } != 0).count()
}
