//! Restrictions that this process or a thread puts on itself, to limit the damage of a fault.
//!
//! Every restriction is permanent, for the thread that sets it and for all threads and processes that it starts. The
//! daemon therefore sets them before it has a second thread. Exceptions are `signals`, `pagemap_scan`, `ksm` and `priority`.
//!
//! Floors, lowest first: `seccomp`, `location`, `ksm`, `priority`, `privileges`, `pagemap_scan`, `signals`, `system_paths`,
//! `hard_links`; `untrusted`; `granted_dir`, `landlock`.

mod granted_dir;
mod hard_links;
mod ksm;
mod landlock;
mod location;
mod pagemap_scan;
mod priority;
mod privileges;
mod seccomp;
mod signals;
mod system_paths;
mod untrusted;

pub use granted_dir::GrantedDir;
pub use ksm::unmerged;
pub use landlock::{LandlockRules, NoLandlock, PathGrant, Reach, places_beyond};
pub use location::place_of;
pub use pagemap_scan::mended;
pub use priority::{serve_first, serve_last, serve_none};
pub use privileges::{Capability, is_confined, no_core, no_new_privileges, retain, unreadable};
pub use seccomp::{SyscallSet, refuse};
pub use signals::{BlockedSignals, ignore_changes, let_through, outlive_large_files};
pub use system_paths::{DEVICES, LIBRARIES, SYSTEM};
pub use untrusted::{Granting, Untrusted, Writable};
