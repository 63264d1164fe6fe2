//! The daemon from outside: the real program, real sockets, real guests. One file a subject.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed, and says where")]

mod admin;
mod calls;
mod cli;
mod compile;
mod config;
mod corpus;
mod deadlines;
mod endurance;
mod errors;
mod fairness;
mod faults;
mod floods;
mod foreign;
mod gate;
mod handlers;
mod hardening;
mod harness;
mod http;
mod http2;
mod isolation;
mod layering;
mod lifecycle;
mod limits;
mod manager;
mod mounts;
mod proxy;
mod reuse;
mod smuggling;
mod sockets;
mod streaming;
mod swap;
mod tls;
mod upgrade;
mod upgrades;
mod websocket;
