//! The return addresses of the functions that a thread is in.

use std::ffi::{c_int, c_void};

/// The most functions of a stack: those of a request are about fifty.
pub(super) const DEPTH: usize = 96;

/// Go on to the caller. `_Unwind_Reason_Code` of the Itanium C++ ABI, "Exception Handling", level 1.
const NO_REASON: c_int = 0;
/// The end of the walk.
const END_OF_STACK: c_int = 5;

// SAFETY: both are functions of the unwinder that the standard library links for panics, with the signatures of the
// Itanium C++ ABI, "Exception Handling", level 1. The context of a frame is the unwinder's own.
unsafe extern "C" {
    fn _Unwind_Backtrace(
        trace: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        argument: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
}

/// The addresses that are collected.
struct Walk {
    addresses: [usize; DEPTH],
    count: usize,
}

/// Collects the return addresses of this thread, the innermost first. Allocates nothing, and takes no lock of the
/// standard library, which a caller may hold.
pub(super) fn capture(use_of: impl FnOnce(&[usize])) {
    let mut walk = Walk { addresses: [0; DEPTH], count: 0 };
    let argument: *mut Walk = &raw mut walk;
    // SAFETY: `argument` points to `walk`, which outlives the call; `collect` uses it as a `Walk`, and nothing else uses
    // it meanwhile.
    let _reason = unsafe { _Unwind_Backtrace(collect, argument.cast()) };
    use_of(&walk.addresses[..walk.count]);
}

extern "C" fn collect(context: *mut c_void, argument: *mut c_void) -> c_int {
    // SAFETY: `capture` passes a pointer to its `Walk`, which nothing else uses during the walk.
    let walk = unsafe { &mut *argument.cast::<Walk>() };
    // SAFETY: the unwinder calls this with the context of a frame.
    let address = unsafe { _Unwind_GetIP(context) };
    match walk.addresses.get_mut(walk.count) {
        Some(place) if address != 0 => {
            *place = address;
            walk.count += 1;
            NO_REASON
        }
        Some(_) | None => END_OF_STACK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_has_some_addresses_and_no_more_than_its_depth() {
        fn deep(left: usize, counts: &mut Vec<usize>) {
            match left {
                0 => capture(|stack| counts.push(stack.len())),
                left => deep(left - 1, counts),
            }
            // What follows keeps the call from becoming a jump.
            counts.push(left);
        }
        let mut counts = Vec::new();

        deep(2 * DEPTH, &mut counts);

        assert!(counts[0] > 3 && counts[0] <= DEPTH, "{}", counts[0]);
    }
}
