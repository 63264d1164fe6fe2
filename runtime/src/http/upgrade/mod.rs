//! Connections that leave HTTP: a job takes over the connection.
//!
//! Lowest first: `job_streams` and `stdin` (the job's streams), `tcp` and `websocket` (the protocols), `tunnel` (the
//! connection and its job), `upgrade_request` (the request that asks for it).

mod job_streams;
mod stdin;
mod tcp;
pub(super) mod tunnel;
pub(super) mod upgrade_request;
pub(super) mod websocket;
