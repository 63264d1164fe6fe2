//! Listening sockets: how they are bound, accepted from and changed.
//!
//! Floors, lowest first: `accept_backoff`, `unix_group`, `options`, `stale_socket`, `tcp`; `socket_file`; `listener`,
//! `unix`; `bind`; `listeners`.

mod accept_backoff;
mod bind;
mod listener;
mod listeners;
mod options;
mod socket_file;
mod stale_socket;
mod tcp;
mod unix;
mod unix_group;

pub use bind::{bind, examine};
pub use listener::Listener;
pub use listeners::{DrainSignal, Handout, ListenerChange, Phase, Sockets};
pub use options::BindOptions;
pub use unix_group::examine as examine_group;
