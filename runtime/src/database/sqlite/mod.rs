//! `sqlite:PATH`: a file in WAL mode, with connections that run on threads of their own.
//!
//! Floors, lowest first: `failure`, `control`, `authorizer`; `open`, `statement`; `connection`, the thread of one; `pool`.

mod authorizer;
mod connection;
mod control;
mod failure;
mod open;
mod pool;
mod statement;

pub(super) use self::pool::{Sqlite, SqliteLease};
