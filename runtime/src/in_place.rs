//! Boxes whose value is made where it stays.
//!
//! `Box::new` and `Box::pin` take a value that was made on the stack, and copy all of it. A future has room for all that
//! it will hold, often several KiB, though little of it is in use before the first poll.

use std::pin::Pin;

/// Makes a value in a new box. The memory comes first, and an optimised build makes the value in it.
#[inline]
pub fn boxed<T>(make: impl FnOnce() -> T) -> Box<T> {
    Box::write(Box::new_uninit(), make())
}

/// Makes a future in a new box, as [`boxed`] does.
#[inline]
pub fn pinned<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(boxed(make))
}
