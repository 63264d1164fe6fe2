//! What this process, or one thread of it, takes from itself so that a fault in it reaches less.
//!
//! Each step is for good, for the thread that takes it and all that it starts. So the daemon takes
//! them before it has a second thread.

mod calls;
mod ground;
mod privileges;

pub use calls::{Calls, refuse};
pub use ground::{Ground, Place, Reach, places_beyond};
pub use privileges::{Capability, is_confined, no_core, no_new_privileges, retain, unreadable};
