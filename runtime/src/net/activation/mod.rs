//! Sockets and messages that this process inherits from systemd or from the previous process.
//!
//! Floors, lowest first: `listen_fds`, `fd_name`; `systemd`; `handover`.

pub(super) mod fd_name;
pub(super) mod handover;
mod listen_fds;
pub(super) mod systemd;

pub use handover::{Predecessor, Successor, writable};
pub use listen_fds::ActivationError;
pub use systemd::Activation;
