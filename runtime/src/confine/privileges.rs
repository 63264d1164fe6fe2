//! Privileges that a process gives up: new ones, capabilities, core dumps, and access by other processes.

use anyhow::{Context as _, Result};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// A privilege that the daemon may keep, capabilities(7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Capability {
    /// Bind ports below 1024.
    BindService,
    /// Give a socket to a group that the daemon is not in.
    Chown,
    /// Use files of other users, as root does.
    OtherUsersFiles,
}

impl Capability {
    fn set(self) -> CapabilitySet {
        match self {
            Capability::BindService => CapabilitySet::NET_BIND_SERVICE,
            Capability::Chown => CapabilitySet::CHOWN,
            Capability::OtherUsersFiles => CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER,
        }
    }
}

/// Prevents programs that this process starts from gaining more privileges than it has.
///
/// # Errors
/// The kernel refuses.
pub fn no_new_privileges() -> Result<()> {
    set_no_new_privs(true).context("no_new_privs")
}

/// Disables core dumps: memory holds secrets, which a crash must not write to disk.
///
/// # Errors
/// The kernel refuses.
pub fn no_core() -> Result<()> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).context("RLIMIT_CORE")?;
    debug_assert_eq!(getrlimit(Resource::Core), none);
    Ok(())
}

/// Prevents other processes of the same user from reading this process's memory, and debuggers from attaching.
///
/// /proc/self/pagemap cannot be opened from then on. Code that needs it must have opened it before.
///
/// # Errors
/// The kernel refuses.
pub fn unreadable() -> Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("PR_SET_DUMPABLE")
}

/// Gives up every capability but these. Returns the names of those that the process has.
///
/// # Errors
/// The kernel refuses.
pub fn retain(keep: &[Capability]) -> Result<String> {
    let keep = keep.iter().fold(CapabilitySet::empty(), |all, one| all | one.set());
    let held = capabilities(None).context("capabilities")?;
    // Removal from the bounding set needs CAP_SETPCAP. Without CAP_SETPCAP the process cannot gain capabilities
    // either.
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for bit in (0..u64::BITS).map(|bit| 1 << bit) {
            let one = CapabilitySet::from_bits_retain(bit);
            if !keep.contains(one) && remove_capability_from_bounding_set(one).is_err() {
                // The kernel does not know this capability, nor any higher one.
                break;
            }
        }
    }
    clear_ambient_capability_set().context("ambient capabilities")?;
    let left = held.permitted & keep;
    let sets = CapabilitySets { effective: left, permitted: left, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).context("capabilities")?;
    let names: Vec<String> = left.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    Ok(if names.is_empty() { "none".to_owned() } else { names.join(" ") })
}

/// Reports whether the parent process had confined itself: system calls are filtered, and no new privileges are
/// possible.
pub fn is_confined() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let says = |line: &str| status.lines().any(|found| found == line);
    // proc_pid_status(5): 2 is a filter.
    says("NoNewPrivs:\t1") && says("Seccomp:\t2")
}
