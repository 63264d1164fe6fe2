//! `spin:postgres@4`: databases on a PostgreSQL server as components built with Spin's SDKs use them.
//!
//! Floors, lowest first: `bindings`; `values`; `connection`.

mod bindings;
mod connection;
mod values;

pub(super) use self::connection::{link, link_async};
