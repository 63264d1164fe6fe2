//! The kinds of module that a handler may be: core modules, command components, and components that answer HTTP.
//!
//! Floors, lowest first: `component`, `foreign_imports`, `instance_pool`; `command`, `core`, `http_p2`, `http_p3`;
//! `http`.

pub(super) mod command;
pub(super) mod component;
pub(super) mod core;
mod foreign_imports;
pub(super) mod http;
pub(super) mod http_p2;
pub(super) mod http_p3;
pub(super) mod instance_pool;
