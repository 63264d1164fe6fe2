//! Outbound connections: from the origin that a handler asks for to an address that it may reach.
//!
//! Floors, lowest first: `address`, `channel`, `origin`, `resolve`, `trust`; `dial`.

mod address;
mod channel;
mod dial;
mod origin;
mod resolve;
mod trust;

pub use address::{Block, BlockError, Prohibited};
pub use channel::Channel;
pub use dial::{DialError, Dialer};
pub use origin::{Origin, OriginError, Pattern, Scheme};
pub use resolve::{Resolve, System};
pub use trust::Trust;
