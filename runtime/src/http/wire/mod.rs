//! A connection below hyper: its deadlines, and the checks on every byte before hyper reads it.
//!
//! Lowest first; a file uses those above it in this list.
//!
//! | file | holds |
//! |---|---|
//! | `host` | the checks and the comparison of hosts |
//! | `version` | HTTP/1 or HTTP/2 |
//! | `lazy_timer` | a timer that is armed at its first poll |
//! | `rate` | the least rate at which a client has to send or read |
//! | `stall` | the waits of writes, and how fast the client reads meanwhile |
//! | `delivery` | how much of a response was handed over, and how much the client has taken |
//! | `close_delimited` | whether a close would end a response body |
//! | `read_deadline` | what the client has to send next, and until when |
//! | `body_debt` | the request body that is not read to its end |
//! | `stream_activity` | the streams of an HTTP/2 connection |
//! | `departure` | how a connection is told to leave |
//! | `client_memory` | the memory that connections hold for their clients, and its limit |
//! | `progress` | what a connection or stream waits for, and its deadlines |
//! | `write_stall` | the waits of writes and flushes for the client |
//! | `lingering_close` | what the client sends after our end is shut |
//! | `deadline_io` | a stream under the deadlines |
//! | `h1` | the checks of HTTP/1 bytes |
//! | `h2` | the counts of HTTP/2 frames |
//! | `report` | the interface to report refusals to the server |
//! | `peeked` | bytes that were read and put back for the next read |
//! | `guarded_io` | a stream under these checks, from which hyper reads |

pub(in crate::http) mod body_debt;
pub(in crate::http) mod client_memory;
pub(in crate::http) mod close_delimited;
pub(in crate::http) mod deadline_io;
pub(in crate::http) mod delivery;
pub(in crate::http) mod departure;
pub(in crate::http) mod guarded_io;
pub(in crate::http) mod h1;
pub(in crate::http) mod h2;
pub(in crate::http) mod host;
pub(in crate::http) mod lazy_timer;
mod lingering_close;
mod peeked;
pub(in crate::http) mod progress;
pub(in crate::http) mod rate;
pub(in crate::http) mod read_deadline;
pub(in crate::http) mod report;
pub(in crate::http) mod stall;
pub(in crate::http) mod stream_activity;
pub(in crate::http) mod version;
mod write_stall;
