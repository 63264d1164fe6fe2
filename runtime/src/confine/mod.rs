//! What this process, or one thread of it, takes from itself so that a fault in it reaches less.

mod ground;

pub use ground::{Ground, Place, Reach};
