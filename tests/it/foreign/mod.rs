//! Handlers in other languages than Rust, built by the tools of those languages from unchanged sources.
//!
//! Each tool is installed by its version and hash, once for all runs. The figures are for the page "Programs that were
//! tried".
//!
//! Floors, lowest first: `tools` and the helpers in this file; `assemblyscript`, `c`, `components`, `crates`, `go`, `javascript`,
//! `python`, `ruby`, `zig`; `cpp`, `hono`, `spin_javascript`, `stores`, `wsgi`.

mod assemblyscript;
mod c;
mod components;
mod cpp;
mod crates;
mod go;
mod hono;
mod javascript;
mod python;
mod ruby;
mod spin_javascript;
mod stores;
pub(crate) mod tools;
mod wsgi;
mod zig;

use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Daemon, Response, Setup, figure, finish, until, within};
use crate::history::{history, shown};

/// The time limit for a tool of another language on a busy machine.
const LONG: Duration = Duration::from_secs(600);

/// The build whose times are printed.
const BUILD: &str = if cfg!(debug_assertions) { "not optimised" } else { "optimised" };

/// The interface in the SDK for components that answer HTTP themselves.
const HTTP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-sdk/wit/http");

/// Runs a tool that builds a program. The tool must succeed.
fn build(tool: &mut Command) {
    let ended = finish(tool, b"", LONG);
    assert_eq!(ended.code, Some(0), "{tool:?}: {}", ended.stderr);
}

/// Starts a daemon whose module takes long to compile, because it contains the engine of a language.
fn serve(setup: Setup) -> Daemon {
    // If the compiler is not optimised, an engine takes half a minute of CPU time.
    let mut daemon = setup.prepend("compile.cpu = \"300s\"\n").spawn();
    within(LONG, "the component is compiled", || (daemon.log.count("-job reload() =") > 0).then_some(()));
    daemon.ready();
    daemon
}

/// Serves a program and requests it several times. Prints the time to compile it and the time of a request.
fn tried(name: &str, setup: Setup, ask: impl Fn(&Daemon) -> Response) -> (Daemon, Response) {
    let setup = setup.prepend("cache = \"none\"\n");
    let began = Instant::now();
    let daemon = serve(setup);
    let compiled = began.elapsed();
    let (first, each) = timed(&daemon, ask);
    figure(&format!("{name}: compiled in {compiled:.1?}, {each:.1?} a request; {BUILD}"));
    (daemon, first)
}

/// Sends a request whose job takes memory until it gets no more, and then ends by itself. The runtimes of most
/// languages do so. The response, the log and the history must name the limit.
fn meets_its_memory_limit(daemon: &Daemon, handler: &str, target: &str, limit: &str) {
    let response = daemon.client().patient(LONG).get(target);

    assert_eq!(response.status(), 502, "{target}: {}", response.text());
    let told = format!("memory limit of {limit} (limits.memory)");
    let line = daemon.log.line(&told);
    assert!(line.contains("(memory_limit)"), "{line}");
    // A script that was not found is a failed job as well.
    let failed = until("the failure in the history", || {
        history(daemon, &["--failed", handler]).into_iter().find(|job| job["outcome"] == "memory_limit")
    });
    assert!(failed["message"].as_str().is_some_and(|message| message.contains(&told)), "{failed}");
    assert!(shown(daemon, &failed).contains(&told), "{failed}");
}

/// Sends a request several times. Returns the first response, and the time that a later one took.
fn timed(daemon: &Daemon, ask: impl Fn(&Daemon) -> Response) -> (Response, Duration) {
    const TIMES: u32 = 5;
    let first = ask(daemon);
    let began = Instant::now();
    (0..TIMES).for_each(|_| assert_eq!(ask(daemon).body, first.body));
    (first, began.elapsed() / TIMES)
}
