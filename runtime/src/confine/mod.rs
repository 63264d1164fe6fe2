//! What this process, or one thread of it, takes from itself so that less can reach it, and a fault in it less.
//!
//! Each step but those of `signals`, `scan` and `merging` is for good, for the thread that takes it and all that it starts. So
//! the daemon takes them before it has a second thread.

mod calls;
mod ground;
mod location;
mod merging;
mod privileges;
mod scan;
mod signals;
mod system;
mod untrusted;

pub use calls::{Calls, refuse};
pub use ground::{Ground, NoLandlock, Place, Reach, places_beyond};
pub use location::place_of;
pub use merging::unmerged;
pub use privileges::{Capability, is_confined, no_core, no_new_privileges, retain, unreadable};
pub use scan::mended;
pub use signals::{Held, ignore_changes, let_through, outlive_large_files};
pub use system::{DEVICES, LIBRARIES, SYSTEM};
pub use untrusted::{Granting, Untrusted, Writable};
