//! Connections that leave HTTP: the job takes the place of the response.
//!
//! Lowest first: `job_ends` and `stdin` (the job's streams), `tcp` and `websocket` (the protocols), `tunnel` (the
//! connection and its job), `applicant` (the request that asks for it).

pub(super) mod applicant;
mod job_ends;
mod stdin;
mod tcp;
pub(super) mod tunnel;
pub(super) mod websocket;
