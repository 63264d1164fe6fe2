//! A CGI response: status and fields, a blank line, the body (RFC 3875 §6).
//!
//! Floors, lowest first: `field`; `head`; `relayed`.

mod field;
mod head;
mod relayed;
#[cfg(test)]
mod tests;

pub use field::{DocumentError, is_ours};
pub use head::{CgiHead, HeadParser, Parsed, bodiless, encode};
pub use relayed::trailers;
