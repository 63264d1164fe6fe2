//! Sockets and words that this process inherits from systemd or from the process before it.
//!
//! Floors, lowest first: `env`, `systemd`, `handover`.

mod env;
pub(super) mod handover;
pub(super) mod systemd;

pub use handover::{Predecessor, Successor, writable};
pub use systemd::{Activation, ActivationError};
