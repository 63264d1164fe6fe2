//! `sqlite:PATH`: a file in WAL mode, with connections that run on threads of their own.
//!
//! Floors, lowest first: `memory`, `meter`, `authorizer`; `failure`; `file`; `control`; `patterns`; `functions`; `open`,
//! `statement`, `backup`; `connection`, the thread of one; `migrate`; `pool`.

mod authorizer;
mod backup;
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

pub(super) use self::pool::{Sqlite, SqliteLease};
