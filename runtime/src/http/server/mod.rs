//! The accept loop, and the connections of HTTP/1, HTTP/2 and TLS.
//!
//! Lowest first; a file uses those above it in this list.
//!
//! | file | holds |
//! |---|---|
//! | `reject` | refusals before there is a request |
//! | `proxy_protocol` | the header that a proxy sends first |
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
mod proxy_protocol;
mod reject;
mod tls;
