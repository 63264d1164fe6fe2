//! A connection below hyper: its deadlines, and the checks on every byte before hyper reads it.
//!
//! Lowest first; a file uses those above it in this list.
//!
//! | file | holds |
//! |---|---|
//! | `host` | what may stand in a `Host`, and which hosts are the same |
//! | `version` | HTTP/1 or HTTP/2 |
//! | `lazy_timer` | a timer that is armed only where something waits |
//! | `rate` | the least rate at which a client has to send or read |
//! | `stall` | a write that waits: for how long, and how fast the client reads |
//! | `delivery` | bytes of a response that were handed over, and that the client has taken |
//! | `close_delimited` | whether the end of the connection may be told |
//! | `progress` | what a connection or stream waits for, and until when |
//! | `deadline_io` | a stream under the deadlines |
//! | `h1` | HTTP/1, checked byte for byte |
//! | `h2` | HTTP/2, counted frame by frame |
//! | `report` | who is told of what was refused here |
//! | `guarded_io` | a stream under those checks, which hyper reads from |

pub(in crate::http) mod close_delimited;
pub(in crate::http) mod deadline_io;
pub(in crate::http) mod delivery;
pub(in crate::http) mod guarded_io;
pub(in crate::http) mod h1;
pub(in crate::http) mod h2;
pub(in crate::http) mod host;
pub(in crate::http) mod lazy_timer;
pub(in crate::http) mod progress;
pub(in crate::http) mod rate;
pub(in crate::http) mod report;
pub(in crate::http) mod stall;
pub(in crate::http) mod version;
