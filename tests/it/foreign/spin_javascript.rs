//! A component of Spin's SDK for JavaScript, built by the tools of that SDK.

use super::tools::{npm, npm_of};
use super::{build, tried};
use crate::harness::Setup;

/// The component with its packages.
const SPIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/it/foreign/components/spinjs");

#[test]
fn a_component_of_spins_sdk_for_javascript_keeps_its_keys() {
    let (Some(tools), Some(spin)) = (npm(), npm_of(SPIN, "spinjs")) else { return };
    let setup = Setup::new(
        "[store.default]\nurl = \"redb:kept.redb\"\n\
         [handler.j]\nmodule = \"j.wasm\"\nstores = [\"default\"]\nlimits.cpu = \"10s\"\n\
         [[route]]\npath = \"/{*rest}\"\nhandler = \"j\"\n",
    );
    let (bundle, module) = (setup.path("one.js"), setup.path("j.wasm"));
    let mut esbuild = tools.run(".bin/esbuild");
    esbuild.arg(format!("{SPIN}/src/index.js")).args(["--bundle", "--format=esm", "--log-level=error"]);
    // The host's interfaces, which the next tool resolves.
    esbuild.arg("--external:fermyon:*").env("NODE_PATH", spin.place.join("node_modules"));
    build(esbuild.arg(format!("--outfile={}", bundle.display())));
    let mut j2w = spin.run(".bin/j2w");
    j2w.args(["--trigger-type", "spin-http", "-i"]).arg(bundle);
    build(j2w.arg("-o").arg(&module));
    assert!(module.exists(), "the tool has written nothing, and said so without a failure");

    let (daemon, response) =
        tried("JavaScript, Spin's SDK", setup, |daemon| daemon.client().submit("POST", "/a", "", b"kept"));

    let get = |target: &str| {
        let response = daemon.get(target);
        (response.status(), response.text().to_owned())
    };
    assert_eq!(response.status(), 200, "{}", response.text());
    assert_eq!(get("/a"), (200, "kept".to_owned()));
    assert_eq!(get("/b"), (404, "Not Found".to_owned()));
    assert_eq!(daemon.client().submit("DELETE", "/a", "", b"").status(), 200);
    assert_eq!(get("/a"), (404, "Not Found".to_owned()));
}
