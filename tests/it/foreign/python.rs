//! Python, as components that contain the interpreter: a program, and one for wasi:http.

use std::path::Path;
use std::process::Command;

use super::tools::pip;
use super::{HTTP, build, meets_its_memory_limit, serve, tried};
use crate::bytes::pattern;
use crate::harness::{Program, Setup};

/// The exports of a command component, in WIT.
pub(super) const COMMAND: &str = "package local:app;
world command { export wasi:cli/run@0.2.0; }
package wasi:cli@0.2.0 { interface run { run: func() -> result; } }
";

/// The source of a CGI program.
const CGI: &str = r#"
import os, sys
from wit_world import exports

class Run(exports.Run):
    def run(self):
        print("Content-Type: text/plain\n")
        if os.environ["QUERY_STRING"] == "long":
            sys.stdout.flush()
            sys.stdout.buffer.write(b"x" * 100_008)
            return
        print(os.environ["REQUEST_METHOD"], os.environ["QUERY_STRING"], sys.argv[-1])
        print(sys.stdin.read().upper())
"#;

/// The source of a component that answers HTTP itself and streams its input.
const PROXY: &str = r#"
from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import Fields, OutgoingBody, OutgoingResponse, ResponseOutparam

class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        response = OutgoingResponse(Fields.from_list([("content-type", b"text/plain")]))
        response.set_status_code(201)
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with body.write() as stream:
            stream.blocking_write_and_flush(f"{request.path_with_query()}\n".encode())
            for piece in pieces(request.consume()):
                stream.blocking_write_and_flush(piece.upper())
        OutgoingBody.finish(body, None)

def pieces(body):
    with body.stream() as stream:
        while True:
            try:
                yield stream.blocking_read(4096)
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    return
                raise
"#;

/// The tool, with hashes for the processors that tests run on.
const TOOL: &str = "componentize-py==0.25.1 --hash=sha256:8623cd8cab8453cb0cd8bf03f3c7103420d06f2f3d360186a280a70a1ca5e89f\n";

/// Returns componentize-py, installed once for all runs.
fn componentize_py() -> Option<Command> {
    let packages = pip("componentize-py-0.25.1", TOOL, &[])?;
    let mut program = Command::new(packages.join("bin/componentize-py"));
    program.env("PYTHONPATH", packages);
    Some(program)
}

/// Builds `p.wasm` from a program, the world that it is written for, and directories of packages.
pub(super) fn componentize(setup: &Setup, wit: &Path, world: &str, packages: &[&Path]) -> Option<()> {
    let mut componentize = componentize_py()?;
    componentize.arg("-d").arg(wit).args(["-w", world, "componentize", "app", "-p"]);
    componentize.arg(setup.path("")).args(packages.iter().flat_map(|dir| [Path::new("-p"), *dir]));
    build(componentize.arg("-o").arg(setup.path("p.wasm")));
    Some(())
}

#[test]
fn a_program_in_python_is_a_handler_even_where_there_is_one_place() {
    let setup = Setup::new(
        "jobs = 1\n[handler.p]\nmodule = \"p.wasm\"\nlimits.cpu = \"10s\"\n[[route]]\npath = \"/p/{word}\"\nhandler = \"p\"\n",
    )
    .file("command.wit", COMMAND.as_bytes())
    .file("app.py", CGI.as_bytes());
    let Some(()) = componentize(&setup, &setup.path("command.wit"), "command", &[]) else { return };
    let (daemon, response) = tried("Python, componentize-py", setup, |daemon| {
        daemon.client().submit("POST", "/p/last?a=b", "", b"shout it")
    });
    let long = daemon.client().get("/p/last?long");

    assert_eq!((response.status(), response.text()), (200, "POST a=b last\nSHOUT IT\n"));
    assert_eq!((long.status(), long.body.len()), (200, 100_008), "what is written at once arrives whole");
}

#[test]
fn python_speaks_http_itself_with_the_interface_that_ships_with_the_sdk() {
    let setup = Setup::new(
        "[handler.p]\nmodule = \"p.wasm\"\nlimits.cpu = \"10s\"\n[[route]]\npath = \"/p/{word}\"\nhandler = \"p\"\n",
    )
    .file("app.py", PROXY.as_bytes());
    let Some(()) = componentize(&setup, Path::new(HTTP), "handler", &[]) else { return };
    let daemon = serve(setup);

    let response = daemon.client().submit("POST", "/p/last?a=b", "", &[b'x'; 10_000]);

    assert_eq!((response.status(), response.field("content-type")), (201, Some("text/plain")));
    assert_eq!(response.text(), format!("/p/last?a=b\n{}", "X".repeat(10_000)));
}

/// A gate, as the page on gates shows it.
const GATE: &str = r#"
import os
from wit_world import exports

class Run(exports.Run):
    def run(self):
        if os.environ.get("HTTP_X_API_KEY") == "letmein":
            print("Status: 204\nRemote-User: ada\nGate-Role: admin\n")
        else:
            print("Status: 401\nContent-Type: text/plain\nWWW-Authenticate: Key\n\nwho are you?")
"#;

#[test]
fn a_gate_in_python_lets_pass_and_turns_away() {
    let setup = Setup::new("[handler.key]\nmodule = \"p.wasm\"\nlimits.cpu = \"10s\"\n")
        .handler("env", "", &Program::text().environment().wasm())
        .add("before = [\"key\"]\n")
        .file("command.wit", COMMAND.as_bytes())
        .file("app.py", GATE.as_bytes());
    let Some(()) = componentize(&setup, &setup.path("command.wit"), "command", &[]) else { return };
    let daemon = serve(setup);

    let passed = daemon.client().ask("GET", "/env", "X-Api-Key: letmein\r\n");
    let refused = daemon.client().ask("GET", "/env", "");

    for variable in ["REMOTE_USER=ada", "AUTH_TYPE=key", "GATE_ROLE=admin"] {
        assert!(passed.text().split('\0').any(|found| found == variable), "{variable}: {}", passed.text());
    }
    assert_eq!((refused.status(), refused.text()), (401, "who are you?\n"));
}

/// A script that reads its body at once, writes it to files in one call each, reads it from one, and answers with it at once.
pub(super) const BYTES: &str = r#"
import os, sys

body = sys.stdin.buffer.read()
with open("/data/whole", "wb") as file:
    file.write(body)
with open("/data/whole", "rb") as file:
    assert file.read() == body
with open("/data/once", "wb", buffering=0) as file:
    told = file.write(body)
assert 0 < told == os.stat("/data/once").st_size, told
print("Content-Type: application/octet-stream\n", flush=True)
sys.stdout.buffer.write(body)
sys.stdout.flush()
"#;

/// A body for that script, larger than what the host moves at once.
pub(super) fn megabytes() -> Vec<u8> {
    pattern(4_000_000)
}

/// A script that takes all the memory that it gets.
pub(super) const ALL: &str = r#"
held = []
while True:
    held.append(bytearray(32 << 10))
"#;

/// An interpreter that runs the script it is given, as a CGI server does.
const INTERPRETER: &str = r#"
import os, sys
from wit_world import exports

class Run(exports.Run):
    def run(self):
        assert sys.argv[-1] == os.environ["SCRIPT_FILENAME"], sys.argv
        with open(sys.argv[-1]) as script:
            exec(compile(script.read(), script.name, "exec"), {"__name__": "__main__"})
"#;

#[test]
fn python_runs_the_script_that_the_url_leads_to_which_moves_megabytes_at_once_and_ends_at_its_memory_limit() {
    let settings = "args = [\"{script}\"]\nscripts = \"/site\"\n\
        mounts = [{ host = \"site\", guest = \"/site\" }, { host = \"data\", guest = \"/data\", write = true }]";
    let setup = Setup::new(&format!(
        "admin = \"unix://admin.sock\"\n[handler.p]\nmodule = \"p.wasm\"\nlimits.cpu = \"10s\"\n{settings}\n[[route]]\npath = \"/cgi/{{*path}}\"\nhandler = \"p\"\n",
    ))
    .file("command.wit", COMMAND.as_bytes())
    .file("app.py", INTERPRETER.as_bytes());
    std::fs::create_dir_all(setup.path("site/tools")).unwrap();
    std::fs::create_dir(setup.path("data")).unwrap();
    let hello = b"import os\nprint('Content-Type: text/plain\\n')\nprint('hello', os.environ['PATH_INFO'])\n";
    let setup = setup.file("site/tools/hello.py", hello).file("site/index.py", b"print('Status: 204\\n')\n");
    let setup = setup.file("site/bytes.py", BYTES.as_bytes()).file("site/all.py", ALL.as_bytes());
    let Some(()) = componentize(&setup, &setup.path("command.wit"), "command", &[]) else { return };
    let daemon = serve(setup);

    let hello = daemon.get("/cgi/tools/hello.py/and/more");
    let moved = daemon.client().submit("POST", "/cgi/bytes.py", "", &megabytes());

    assert_eq!((hello.status(), hello.text()), (200, "hello /and/more\n"));
    assert_eq!((daemon.get("/cgi/").status(), daemon.get("/cgi/tools/none.py").status()), (204, 404));
    assert!(moved.status() == 200 && moved.body == megabytes(), "{} {}", moved.status(), moved.body.len());
    meets_its_memory_limit(&daemon, "p", "/cgi/all.py", "128MiB");
}
