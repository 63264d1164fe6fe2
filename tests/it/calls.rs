//! Jobs that call jobs: streams, bounds, refusals and ends.

use std::fs;

use crate::harness::{Daemon, Setup, guests};

/// Which of the guest's two builds a handler is.
#[derive(Clone, Copy)]
enum Build {
    Core,
}

/// A configuration whose handlers are all the guest "calls".
struct Site(Setup);

impl Site {
    fn new() -> Site {
        Site(Setup::new("admin = \"unix://admin.sock\"\n"))
    }

    /// Adds a handler at `/NAME` that does what `verb` says, or, without one, what it is called with.
    fn handler(self, name: &str, build: Build, verb: &[&str], settings: &str) -> Site {
        let file = match build {
            Build::Core => "calls.wasm",
        };
        let module = fs::read(guests().join(file)).unwrap();
        let settings = format!("output = \"raw\"\nargs = {verb:?}\n{settings}");
        Site(self.0.handler(name, &settings, &module))
    }

    fn core(self, name: &str, verb: &[&str], settings: &str) -> Site {
        self.handler(name, Build::Core, verb, settings)
    }

    fn start(self) -> Daemon {
        self.0.start()
    }
}

#[test]
fn a_job_is_called_streams_both_ways_and_tells_its_status() {
    let daemon = Site::new()
        .core("front", &["call", "back", "upper"], "calls = [\"back\"]")
        .core("back", &[], "")
        .start();

    let answer = daemon.client().submit("POST", "/front", "", b"some words");

    assert_eq!(answer.text(), "SOME WORDS\nstatus 0\n");
}
