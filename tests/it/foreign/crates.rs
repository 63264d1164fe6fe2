//! A program of crates.io that does not know HTTP, with `output = "raw"`.

use std::process::Command;

use super::tools::{filled, install, place};
use super::tried;
use crate::harness::Setup;

/// The program and its version. crates.io fixes its hash, and its lock file those of its dependencies.
const PROGRAM: (&str, &str) = ("htmlq", "0.4.0");

#[test]
fn a_filter_for_html_from_crates_io_is_a_handler_as_it_is() {
    let (name, version) = PROGRAM;
    let built = filled(&format!("{name}-{version}"), |root| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["install", "--quiet", "--locked", "--target", "wasm32-wasip1", "--version", version]);
        cargo.arg("--root").arg(root).arg(name).env("CARGO_TARGET_DIR", place("crates"));
        install(
            &mut cargo,
            "is crates.io within reach, and the target installed (rustup target add wasm32-wasip1)?",
        )
    });
    let Some(built) = built else { return };
    let setup = Setup::new(
        "[handler.q]\nmodule = \"q.wasm\"\nargs = [\"--text\", \"--\"]\noutput = \"raw\"\n\
         [[route]]\npath = \"/text/{selector}\"\nhandler = \"q\"\n",
    );
    std::fs::copy(built.join(format!("bin/{name}.wasm")), setup.path("q.wasm")).unwrap();
    let page = "<html><body><p class=a>one</p><p>two</p><p class=a>three</p></body></html>";

    let (_daemon, response) =
        tried("htmlq", setup, |daemon| daemon.client().submit("POST", "/text/p.a", "", page.as_bytes()));

    assert_eq!((response.status(), response.text()), (200, "one\nthree\n"));
}
