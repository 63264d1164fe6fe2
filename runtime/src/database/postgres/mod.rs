//! `postgres://...`: a server, with a pool of connections that are made again when they break.
//!
//! Floors, lowest first: `syntax`, `numeric`, `failure`; `types`; `tls`; `statement`; `pool`; `migrate`.

mod failure;
mod migrate;
mod numeric;
mod pool;
mod statement;
mod syntax;
mod tls;
mod types;

pub(super) use self::pool::{Postgres, PostgresLease, config};
