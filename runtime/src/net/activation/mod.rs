//! Sockets and messages that this process inherits from systemd or from the previous process.
//!
//! Floors, lowest first: `env`, `fd_name`; `systemd`; `handover`.

mod env;
pub(super) mod fd_name;
pub(super) mod handover;
pub(super) mod systemd;

pub use env::ActivationError;
pub use handover::{Predecessor, Successor, writable};
pub use systemd::Activation;
