//! The daemon's interface for jobs, on each target.
//!
//! One file for each target: `component`, `core`, `nowhere`.

#[cfg(all(target_os = "wasi", target_env = "p2", feature = "jobs"))]
mod component;
#[cfg(all(target_os = "wasi", target_env = "p1"))]
mod core;
#[cfg(not(all(target_os = "wasi", any(target_env = "p1", all(target_env = "p2", feature = "jobs")))))]
mod nowhere;

#[cfg(all(target_os = "wasi", target_env = "p2", feature = "jobs"))]
pub(super) use self::component::Handle;
#[cfg(all(target_os = "wasi", target_env = "p1"))]
pub(super) use self::core::Handle;
#[cfg(not(all(target_os = "wasi", any(target_env = "p1", all(target_env = "p2", feature = "jobs")))))]
pub(super) use self::nowhere::Handle;

/// Whether a read would not block.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) read: bool,
}
