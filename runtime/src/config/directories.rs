//! Whether the directories that a configuration names must be there when it is read.

/// How a configuration is read, as to the directories of mounts, of static routes and of `hardening.reach`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Directories {
    /// They must exist, as at a start.
    Checked,
    /// They are looked up later. A daemon that serves holds them open, and a handler may have moved them.
    Held,
}
