//! wasmtime engines: their settings and kinds, the machine code they load, and the epoch ticker.
//!
//! Floors, lowest first: `binary_kind`, `exports`, `instance_size`, `outline`, `sealed`, `ticker`; `artifact`,
//! `engine_kind`; `settings`; `allocation`.

pub(super) mod allocation;
pub(super) mod artifact;
pub(super) mod binary_kind;
pub(super) mod engine_kind;
pub(super) mod exports;
pub(super) mod instance_size;
pub(super) mod outline;
pub(super) mod sealed;
pub(super) mod settings;
pub(super) mod ticker;
