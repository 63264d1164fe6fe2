//! `postgres://...`: a server, with a pool of connections that are made again when they break.
//!
//! Floors, lowest first: `frames`, `look_ups`, `numeric`; `failure`, `types`; `tls`, `connect`; `statement`, `migrate`;
//! `lease`; `pool`.

mod connect;
mod failure;
mod frames;
mod lease;
mod look_ups;
mod migrate;
mod numeric;
mod pool;
mod statement;
mod tls;
mod types;

pub(super) use self::lease::PostgresLease;
pub(super) use self::pool::{Postgres, config, shown, with_password};
