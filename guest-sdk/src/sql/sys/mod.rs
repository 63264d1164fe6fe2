//! The daemon's interface for databases, on each target.

#[cfg(all(target_os = "wasi", target_env = "p1"))]
mod core;
#[cfg(all(not(target_os = "wasi"), feature = "sqlite"))]
mod memory;
#[cfg(not(any(
    all(target_os = "wasi", target_env = "p1"),
    all(not(target_os = "wasi"), feature = "sqlite")
)))]
mod nowhere;

#[cfg(all(target_os = "wasi", target_env = "p1"))]
pub(super) use self::core::Handle;
#[cfg(all(not(target_os = "wasi"), feature = "sqlite"))]
pub(super) use self::memory::Handle;
#[cfg(not(any(
    all(target_os = "wasi", target_env = "p1"),
    all(not(target_os = "wasi"), feature = "sqlite")
)))]
pub(super) use self::nowhere::Handle;
