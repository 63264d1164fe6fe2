//! Marks that guests of every kind leave in memory and look for.

use core::arch::wasm32::memory_grow;

/// The number of WebAssembly pages to grow by.
const GROWTH: usize = 16;

/// The distance between marks in bytes: a page of the host.
const STEP: usize = 4096;

/// Grows memory, and returns the addresses of its marks.
fn grown() -> impl Iterator<Item = *mut u8> {
    let first = memory_grow::<0>(GROWTH) << 16;
    (first..first + (GROWTH << 16)).step_by(STEP).map(|at| at as *mut u8)
}

/// Marks each page of some new memory.
pub fn make() {
    // SAFETY: the address lies in memory that was grown just now, which nothing else uses.
    grown().for_each(|at| unsafe { at.write_volatile(0x5a) });
}

/// Counts the pages of some new memory that are marked.
pub fn count() -> usize {
    // SAFETY: the address lies in memory that was grown just now, which nothing else uses.
    grown().filter(|at| unsafe { at.read_volatile() } != 0).count()
}
