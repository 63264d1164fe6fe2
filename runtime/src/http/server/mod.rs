//! The accept loop, and the connections of HTTP/1, HTTP/2 and TLS.
//!
//! Lowest first; a file uses those above it in this list.
//!
//! | file | holds |
//! |---|---|
//! | `accepted` | a connection and what it is served with |
//! | `reject` | answers where there is no request yet |
//! | `tls` | the handshake |
//! | `h1` | a connection of HTTP/1 |
//! | `h2` | a connection of HTTP/2 |
//! | `connection` | from the accepted stream to one of both |
//! | `accept` | the accept loop |

mod accept;
mod accepted;
mod connection;
mod h1;
mod h2;
mod reject;
mod tls;
