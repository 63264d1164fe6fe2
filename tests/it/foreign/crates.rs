//! Programs of crates.io that do not know HTTP, with `output = "raw"`.

use std::path::PathBuf;
use std::process::Command;

use super::tools::{filled, install, place};
use super::tried;
use crate::harness::Setup;

/// Builds a program. crates.io fixes the hash of a version, and its lock file those of its dependencies.
fn program(name: &str, version: &str, features: &[&str]) -> Option<PathBuf> {
    let built = filled(&format!("{name}-{version}"), |root| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["install", "--quiet", "--locked", "--target", "wasm32-wasip1", "--version", version]);
        cargo.args(features).arg("--root").arg(root).arg(name).env("CARGO_TARGET_DIR", place("crates"));
        install(
            &mut cargo,
            "is crates.io within reach, and the target installed (rustup target add wasm32-wasip1)?",
        )
    });
    Some(built?.join(format!("bin/{name}.wasm")))
}

#[test]
fn a_filter_for_html_from_crates_io_is_a_handler_as_it_is() {
    let Some(module) = program("htmlq", "0.4.0", &[]) else { return };
    let setup = Setup::new(
        "[handler.q]\nmodule = \"q.wasm\"\nargs = [\"--text\", \"--\"]\noutput = \"raw\"\n\
         [[route]]\npath = \"/text/{selector}\"\nhandler = \"q\"\n",
    );
    std::fs::copy(module, setup.path("q.wasm")).unwrap();
    let page = "<html><body><p class=a>one</p><p>two</p><p class=a>three</p></body></html>";

    let (_daemon, response) =
        tried("htmlq", setup, |daemon| daemon.client().submit("POST", "/text/p.a", "", page.as_bytes()));

    assert_eq!((response.status(), response.text()), (200, "one\nthree\n"));
}

#[test]
fn a_renderer_of_svg_from_crates_io_is_a_handler_as_it_is() {
    // Without the formats of images within an image, it is built in half the time.
    let features = ["--no-default-features", "--features", "text,system-fonts,memmap-fonts"];
    let Some(module) = program("resvg", "0.45.1", &features) else { return };
    let setup = Setup::new(
        "[handler.r]\nmodule = \"r.wasm\"\nargs = [\"-w\", \"48\", \"-\", \"-c\"]\n\
         output = \"raw\"\ncontent_type = \"image/png\"\n[[route]]\npath = \"/png\"\nhandler = \"r\"\n",
    );
    std::fs::copy(module, setup.path("r.wasm")).unwrap();
    let image =
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 6 4"><circle r="2" fill="teal"/></svg>"#;

    let (_daemon, response) =
        tried("resvg", setup, |daemon| daemon.client().submit("POST", "/png", "", image.as_bytes()));

    assert_eq!((response.status(), response.field("content-type")), (200, Some("image/png")));
    // Its width and its height, in the first chunk of a PNG.
    let (begins, size) = (response.body.starts_with(b"\x89PNG\r\n\x1a\n"), response.body.get(16..24));
    assert_eq!((begins, size), (true, Some(&[0, 0, 0, 48, 0, 0, 0, 32][..])));
}
