//! The test harness: the daemon as a process, clients on raw sockets, guests as small programs.
//!
//! Floors, lowest first: `bomb`, `certificates`, `deadline`, `port`, `random`, `tool`, `wire`; `client`, `guest`, `log`,
//! `origin`, `store_server`; `daemon`, `frames`, `load`, `secure`; `database_server`, `jobs`, `landlock`, `metrics`.

mod bomb;
mod certificates;
mod client;
mod daemon;
mod database_server;
mod deadline;
pub(crate) mod frames;
mod guest;
mod jobs;
mod landlock;
mod load;
mod log;
mod metrics;
pub(crate) mod origin;
#[path = "../../../runtime/src/free_port.rs"]
mod port;
mod random;
mod secure;
mod store_server;
mod tool;
mod wire;

pub(crate) use bomb::{bomb, dear, dear_text};
pub(crate) use certificates::{Authority, Pair};
pub(crate) use client::{Client, Response};
pub(crate) use daemon::{Daemon, Ended, Setup, cpu_time, finish, output, portcullis, reaped};
pub(crate) use database_server::DatabaseServer;
pub(crate) use deadline::{Ends, PATIENCE, attempted, never, soon, until, within};
pub(crate) use guest::{Program, guests, handlers, middleware};
pub(crate) use landlock::Landlock;
pub(crate) use load::{Crowd, Latencies, at_once, figure};
pub(crate) use log::Log;
pub(crate) use origin::Origin;
pub(crate) use port::free_port;
pub(crate) use random::Random;
pub(crate) use store_server::StoreServer;
pub(crate) use tool::{found, on_path};
