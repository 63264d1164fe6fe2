//! Obtains certificates from an ACME server and renews them (RFC 8555); the only module that uses instant-acme.
//!
//! Floors, lowest first: `retry`; `client`; `account`, `order`; `keeper`.

mod account;
mod client;
mod keeper;
mod order;
mod retry;

pub use keeper::keep;
