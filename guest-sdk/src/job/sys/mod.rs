//! The daemon's side of a job, as each target reaches it.

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

/// Which side of a job would not make its caller wait.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) read: bool,
}
