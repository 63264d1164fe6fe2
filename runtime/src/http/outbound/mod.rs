//! Requests of handlers to other servers: checked, bounded, and over a connection of their own.

mod caller;
mod exchange;
mod notice;
mod received;
pub(super) mod trail;

pub use caller::{Caller, Grant};
