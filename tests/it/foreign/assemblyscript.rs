//! AssemblyScript, with its makers' shim for WASI.

use super::tools::npm;
use super::{build, tried};
use crate::harness::Setup;

/// The source of a CGI program.
const CGI: &str = r#"
function variable(name: string): string {
  return process.env.has(name) ? process.env.get(name) : "";
}

let text = "";
const buffer = new ArrayBuffer(4096);
for (let read = process.stdin.read(buffer); read > 0; read = process.stdin.read(buffer)) {
  text += String.UTF8.decode(buffer.slice(0, read));
}
process.stdout.write("Content-Type: text/plain\nX-Made-With: AssemblyScript\n\n");
process.stdout.write(variable("REQUEST_METHOD") + " " + variable("QUERY_STRING") + " ");
process.stdout.write(process.argv[process.argv.length - 1] + "\n" + text.toUpperCase());
"#;

#[test]
fn a_cgi_program_in_assemblyscript_is_a_handler() {
    let Some(tools) = npm() else { return };
    let handler = "[handler.a]\nmodule = \"a.wasm\"\n[[route]]\npath = \"/a/{word}\"\nhandler = \"a\"\n";
    let setup = Setup::new(handler).file("a.ts", CGI.as_bytes());
    let mut asc = tools.run("assemblyscript/bin/asc.js");
    // The compiler finds a configuration reliably only relative to its working directory.
    asc.arg(setup.path("a.ts")).current_dir(&tools.place);
    asc.args(["--config", "node_modules/@assemblyscript/wasi-shim/asconfig.json"]);
    build(asc.args(["-O", "-o"]).arg(setup.path("a.wasm")));

    let (_daemon, response) = tried("AssemblyScript", setup, |daemon| {
        daemon.client().submit("POST", "/a/last?a=b", "", b"shout it")
    });

    assert_eq!((response.status(), response.field("x-made-with")), (200, Some("AssemblyScript")));
    assert_eq!(response.text(), "POST a=b last\nSHOUT IT");
}
