//! Restrictions that this process or a thread puts on itself, to limit the damage of a fault.
//!
//! Every restriction is permanent, for the thread that sets it and for all that it starts; `signals`, `scan` and
//! `merging` are exceptions. The daemon therefore sets them before it has a second thread.
//!
//! Floors, lowest first: `calls`, `location`, `merging`, `privileges`, `scan`, `signals`, `system`; `untrusted`;
//! `ground`.

mod calls;
mod ground;
mod location;
mod merging;
mod privileges;
mod scan;
mod signals;
mod system;
mod untrusted;

pub use calls::{SyscallSet, refuse};
pub use ground::{LandlockRules, NoLandlock, PathGrant, Reach, places_beyond};
pub use location::place_of;
pub use merging::unmerged;
pub use privileges::{Capability, is_confined, no_core, no_new_privileges, retain, unreadable};
pub use scan::mended;
pub use signals::{BlockedSignals, ignore_changes, let_through, outlive_large_files};
pub use system::{DEVICES, LIBRARIES, SYSTEM};
pub use untrusted::{Granting, Untrusted, Writable};
