//! Connections that leave HTTP: a job takes over the connection.
//!
//! Floors, lowest first: the job's streams, `job_streams` and `stdin`; the protocols, `tcp` and `websocket`; `tunnel`, the
//! connection and its job; `upgrade_request`, which asks for it.

mod job_streams;
mod stdin;
mod tcp;
pub(super) mod tunnel;
pub(super) mod upgrade_request;
pub(super) mod websocket;
