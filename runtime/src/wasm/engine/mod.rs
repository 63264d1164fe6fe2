//! What every engine of wasmtime is: its settings, its kind, the code it runs and the clock that makes guests give way.
//!
//! Floors, lowest first: `sealed`, `binary_kind`, `exports`, `instance_size`, `outline`, `ticker`; `artifact`,
//! `engine_kind`; `settings`.

pub(super) mod artifact;
pub(super) mod binary_kind;
pub(super) mod engine_kind;
pub(super) mod exports;
pub(super) mod instance_size;
pub(super) mod outline;
pub(super) mod sealed;
pub(super) mod settings;
pub(super) mod ticker;
