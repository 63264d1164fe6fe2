//! Hono, a JavaScript framework, bundled by esbuild and made a component by componentize-js.

use super::javascript::WIT;
use super::tools::npm;
use super::{build, tried};
use crate::harness::Setup;

const APP: &str = r#"
import { Hono } from "hono";

const app = new Hono();
app.post("/hono/:word", async (c) => {
  const text = (await c.req.text()).toUpperCase();
  return c.text(`${c.req.query("a")} ${c.req.param("word")} ${text}`, 201, { "X-Made-With": "Hono" });
});
addEventListener("fetch", (event) => event.respondWith(app.fetch(event.request)));
"#;

#[test]
fn a_hono_application_is_a_handler() {
    let Some(tools) = npm() else { return };
    let handler = "[handler.h]\nmodule = \"h.wasm\"\nlimits.cpu = \"10s\"\nlimits.time = \"300s\"\n[[route]]\npath = \"/{*rest}\"\nhandler = \"h\"\n";
    let setup = Setup::new(handler).file("app.js", APP.as_bytes()).file("app.wit", WIT.as_bytes());
    let mut esbuild = tools.run(".bin/esbuild");
    esbuild.arg(setup.path("app.js")).args(["--bundle", "--format=esm", "--log-level=error"]);
    // The directory of the packages, because the application lies elsewhere.
    esbuild.env("NODE_PATH", tools.place.join("node_modules"));
    build(esbuild.arg(format!("--outfile={}", setup.path("one.js").display())));
    let mut componentize = tools.run(".bin/componentize-js");
    componentize.arg(setup.path("one.js")).arg("--wit").arg(setup.path("app.wit"));
    build(componentize.args(["-n", "app", "-o"]).arg(setup.path("h.wasm")));

    let (_daemon, response) = tried("Hono, componentize-js", setup, |daemon| {
        daemon.client().submit("POST", "/hono/last?a=b", "", b"shout it")
    });

    assert_eq!((response.status(), response.field("x-made-with")), (201, Some("Hono")));
    assert_eq!(response.text(), "b last SHOUT IT");
}
