//! Handlers in other languages than Rust, unchanged: what the tools of those languages make.

mod c;
mod javascript;
mod python;

use std::process::Command;
use std::time::Duration;

use crate::harness::{Daemon, Setup, finish, within};

/// How long a tool of another language may take on a busy machine.
const LONG: Duration = Duration::from_secs(300);

/// The interface that ships with the SDK for those who speak HTTP themselves.
const HTTP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-sdk/wit/http");

/// Runs a tool that makes something of a program, which it has to.
fn build(tool: &mut Command) {
    let ended = finish(tool, b"", LONG);
    assert_eq!(ended.code, Some(0), "{tool:?}: {}", ended.stderr);
}

/// Runs a package manager, which has to find its registry; `advice` is for whoever reads that it does not.
fn install(manager: &mut Command, advice: &str) {
    let ended = finish(manager, b"", LONG);
    assert_eq!(ended.code, Some(0), "{advice} {manager:?}: {}", ended.stderr);
}

/// Starts a daemon whose module is compiled first: it has the engine of a language in it.
fn serve(setup: Setup) -> Daemon {
    // An engine takes half a minute of a processor where the compiler is not optimised.
    let mut daemon = setup.prepend("compile.cpu = \"300s\"\n").spawn();
    within(LONG, "the component is compiled", || (daemon.log.count("-job reload() =") > 0).then_some(()));
    daemon.ready();
    daemon
}
