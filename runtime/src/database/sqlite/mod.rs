//! `sqlite:PATH`: a file in WAL mode, with connections that run on threads of their own.
//!
//! Floors, lowest first: `closing`, `memory`, `meter`, `authorizer`, `patterns`; `failure`, `file`; `control`;
//! `functions`; `open`, `statement`, `backup`; `connection`, `migrate`; `pool`.

mod authorizer;
mod backup;
mod closing;
mod connection;
mod control;
mod failure;
mod file;
mod functions;
mod memory;
mod meter;
mod migrate;
mod open;
mod patterns;
mod pool;
mod statement;

pub use self::pool::wait_until_closed;
pub(super) use self::pool::{Sqlite, SqliteLease};
