//! The daemon's interface for stores, on each target.

#[cfg(all(target_os = "wasi", target_env = "p1"))]
mod core;
#[cfg(not(target_os = "wasi"))]
mod memory;
#[cfg(all(target_os = "wasi", not(target_env = "p1")))]
mod nowhere;

#[cfg(all(target_os = "wasi", target_env = "p1"))]
pub(super) use self::core::Handle;
#[cfg(not(target_os = "wasi"))]
pub(super) use self::memory::Handle;
#[cfg(all(target_os = "wasi", not(target_env = "p1")))]
pub(super) use self::nowhere::Handle;
