//! Requests of handlers to other servers: checked, bounded, and over connections that no other handler has.

mod caller;
mod charge;
mod exchange;
mod kept;
mod notice;
mod received;
mod sound;
pub(super) mod trail;

pub use caller::{Caller, Grant};

#[cfg(test)]
mod tests;
