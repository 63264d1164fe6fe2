//! The accept loop, and the connections of HTTP/1, HTTP/2 and TLS.
//!
//! Lowest first; a file uses those above it in this list.
//!
//! | file | holds |
//! |---|---|
//! | `reject` | refusals before there is a request |
//! | `tls` | the TLS handshake |
//! | `drain` | how a connection is told to leave |
//! | `h1` | an HTTP/1 connection |
//! | `h2` | an HTTP/2 connection |
//! | `connection` | the choice between both |
//! | `accept` | the accept loop |

pub(in crate::http) mod accept;
mod connection;
mod drain;
mod h1;
mod h2;
mod reject;
mod tls;
