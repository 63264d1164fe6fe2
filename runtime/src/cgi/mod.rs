//! CGI/1.1 (RFC 3875): encodes a request as variables, and parses a handler's output as a response.
//!
//! Pure: nothing here reads, writes, waits or logs.
//!
//! Floors, lowest first: `document`, `meta`, `path`, which do not use one another.

pub mod document;
pub mod meta;
pub mod path;

pub use document::{CgiHead, DocumentError, HeadParser, Parsed, bodiless};
pub use meta::{Facts, RequestScheme};
pub use path::PathError;
