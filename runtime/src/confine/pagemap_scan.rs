//! Replaces the C library's `ioctl` to correct the `PAGEMAP_SCAN` by which wasmtime finds written pages.
//!
//! Between two jobs wasmtime resets the pages that `PAGEMAP_SCAN` reports as written **and present** (48.0.8,
//! `vm/sys/unix/pagemap.rs`; wasmtime pull request 14357 has the same finding). A page that is swapped out at that
//! moment is not present. It is not reset, and the next job in its slot reads it. This happens without swap space,
//! too. While the kernel moves a page in memory - to compact it, to balance NUMA nodes, to split a huge page - the
//! page is not present either. With compaction running, 19 of 1,658,000 scans missed pages on a host without swap.
//! Locked pages are moved as well. Scanning only on hosts without swap is therefore no solution.
//!
//! Rejected: resetting all memory, which costs a hello more than half as much processor time again (17.4 and 28.2 us).
//! Rejected: a private copy of wasmtime, which would have to follow its security fixes. Instead the program defines its
//! own `ioctl`, which the linker prefers to the C library's. It extends this one request to pages that are not
//! present. rustix calls it instead of the kernel because of its feature `use-libc`; [`mended`] confirms this before a
//! pool scans.

use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::mem::size_of;
use std::sync::atomic::{AtomicBool, Ordering};

/// linux/fs.h: `struct pm_scan_arg`.
#[repr(C)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// linux/fs.h: `PAGEMAP_SCAN`, which is `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u32 = 3 << 30 | (size_of::<Scan>() as u32) << 16 | (b'f' as u32) << 8 | 16;

/// linux/fs.h: `PAGE_IS_PRESENT`.
const PRESENT: u64 = 1 << 3;

/// linux/fs.h: `PAGE_IS_SWAPPED`. The kernel also reports it for a page that is being moved in memory.
const SWAPPED: u64 = 1 << 4;

/// Whether a scan has passed through this `ioctl` and succeeded.
static MENDED: AtomicBool = AtomicBool::new(false);

/// Reports whether scans of this process are corrected. wasmtime tries one whenever it makes a pool.
pub fn mended() -> bool {
    MENDED.load(Ordering::Relaxed)
}

impl Scan {
    /// Extends a request for present pages to pages that are present or swapped.
    fn mend(&mut self) {
        if self.category_mask & PRESENT != 0 && self.category_inverted & PRESENT == 0 {
            self.category_mask &= !PRESENT;
            self.category_anyof_mask |= PRESENT | SWAPPED;
        }
    }
}

/// ioctl(2), for all code in this program that calls the C library's.
///
/// # Safety
/// As for the C library's `ioctl`: `argument` is what `request` requires.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
// SAFETY: no other symbol of this name is linked in. A shared C library is searched after the program; from an archive
// the symbol is not taken, because it is already defined. The function has the meaning of the C library's `ioctl`: on
// these processors the third argument of a variadic call is passed like that of any other.
#[unsafe(no_mangle)]
unsafe extern "C" fn ioctl(descriptor: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    // The kernel's request has 32 bits, and musl's as well; the upper bits may be anything.
    let scan = request as u32 == PAGEMAP_SCAN && !argument.is_null();
    if scan {
        // SAFETY: the caller passes a `pm_scan_arg` with this request, whose number contains the size of the argument.
        unsafe { (*argument.cast::<Scan>()).mend() };
    }
    // SAFETY: the caller's arguments are passed on unchanged but for the correction above.
    let outcome = unsafe { libc::syscall(libc::SYS_ioctl, descriptor, request, argument) };
    if scan && outcome >= 0 && !mended() {
        MENDED.store(true, Ordering::Relaxed);
    }
    narrow(outcome)
}

/// Converts the result of syscall(2) to an `int`, as ioctl(2) declares it.
fn narrow(outcome: c_long) -> c_int {
    c_int::try_from(outcome).unwrap_or(c_int::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd as _;

    /// An empty scan for pages of these categories.
    fn scan(categories: u64) -> Scan {
        Scan {
            size: size_of::<Scan>() as u64,
            flags: 0,
            start: 0,
            end: 0,
            walk_end: 0,
            vec: 0,
            vec_len: 0,
            max_pages: 0,
            category_inverted: 0,
            category_mask: categories,
            category_anyof_mask: 0,
            return_mask: 0,
        }
    }

    #[test]
    fn a_scan_for_pages_that_are_present_asks_for_those_elsewhere_as_well() {
        const WRITTEN: u64 = 1 << 1;
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        let mut asked = scan(WRITTEN | PRESENT);

        // SAFETY: the argument is a `pm_scan_arg` of a range and an array without length.
        let outcome =
            unsafe { libc::ioctl(pagemap.as_raw_fd(), c_ulong::from(PAGEMAP_SCAN) as _, &raw mut asked) };

        assert_eq!((asked.category_mask, asked.category_anyof_mask), (WRITTEN, PRESENT | SWAPPED));
        assert_eq!(mended(), outcome == 0, "{}", std::io::Error::last_os_error());
    }

    #[test]
    fn a_scan_that_does_not_ask_for_what_is_present_is_left_alone() {
        let mut absent = scan(PRESENT);
        absent.category_inverted = PRESENT;
        let mut any = scan(0);

        absent.mend();
        any.mend();

        assert_eq!((absent.category_mask, absent.category_anyof_mask), (PRESENT, 0));
        assert_eq!((any.category_mask, any.category_anyof_mask), (0, 0));
    }

    #[test]
    fn other_requests_reach_the_kernel_as_they_are() {
        let file = File::open("/dev/null").unwrap();
        let mut argument = 0_u64;

        // SAFETY: FIONREAD writes at most an `int`.
        let outcome = unsafe { libc::ioctl(file.as_raw_fd(), libc::FIONREAD, &raw mut argument) };

        assert_eq!((outcome, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ENOTTY)));
    }
}
