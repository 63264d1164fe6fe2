//! Programs in other languages than Rust, unchanged: what the tools of those languages make.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::{Setup, finish, found, within};

/// How long a tool of another language may take on a busy machine.
const LONG: Duration = Duration::from_secs(300);

/// Where Debian's wasi-libc is.
const SYSROOT: &str = "/usr/lib/wasm32-wasi/libc.a";

/// A CGI program as it has been written for thirty years.
const CGI: &str = r#"
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    const char *length = getenv("CONTENT_LENGTH");
    long count = length ? atol(length) : 0;
    printf("Content-Type: text/plain\r\nX-Made-With: C\r\n\r\n");
    printf("%s %s %d %s\n", getenv("REQUEST_METHOD"), getenv("QUERY_STRING"), argc, argv[argc - 1]);
    for (int letter; count > 0 && (letter = getchar()) != EOF; count--) {
        putchar(letter >= 'a' && letter <= 'z' ? letter - 32 : letter);
    }
    return 0;
}
"#;

/// Returns the C compiler, if it and what it needs for WASI are there.
fn compiler() -> Option<&'static str> {
    let package = "clang lld wasi-libc libclang-rt-14-dev-wasm32";
    let there = found(&["clang", "wasm-ld"], package);
    if there && !fs::exists(SYSROOT).unwrap() {
        assert!(std::env::var_os("CI").is_none(), "{SYSROOT} is not there: apt-get install {package}");
        return None;
    }
    there.then_some("clang")
}

#[test]
fn a_cgi_program_in_c_is_a_handler_as_it_is() {
    let Some(compiler) = compiler() else { return };
    let setup =
        Setup::new("[handler.c]\nmodule = \"c.wasm\"\n[[route]]\npath = \"/c/{word}\"\nhandler = \"c\"\n")
            .file("c.c", CGI.as_bytes());
    let mut compile = Command::new(compiler);
    compile.args(["--target=wasm32-wasi", "-O1", "-o"]).arg(setup.path("c.wasm")).arg(setup.path("c.c"));
    let compiled = finish(&mut compile, b"", Duration::from_secs(60));
    assert_eq!(compiled.code, Some(0), "{}", compiled.stderr);
    let daemon = setup.start();

    let response = daemon.client().submit("POST", "/c/last?a=b", "", b"shout it");

    assert_eq!((response.status(), response.field("x-made-with")), (200, Some("C")));
    assert_eq!(response.text(), "POST a=b 2 last\nSHOUT IT");
}

/// What a component that is a command exports, in WIT.
const COMMAND: &str = "package local:app;
world command { export wasi:cli/run@0.2.0; }
package wasi:cli@0.2.0 { interface run { run: func() -> result; } }
";

/// A CGI program in Python.
const PYTHON: &str = r#"
import os, sys
from wit_world import exports

class Run(exports.Run):
    def run(self):
        print("Content-Type: text/plain\n")
        print(os.environ["REQUEST_METHOD"], os.environ["QUERY_STRING"], sys.argv[-1])
        print(sys.stdin.read().upper())
"#;

/// Returns componentize-py, installed once for all runs.
fn componentize_py() -> Option<PathBuf> {
    if !found(&["python3"], "python3 python3-venv") {
        return None;
    }
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("componentize-py-0.25.1");
    let program = venv.join("bin/componentize-py");
    if !program.is_file() {
        let made = finish(Command::new("python3").args(["-m", "venv"]).arg(&venv), b"", LONG);
        assert_eq!(made.code, Some(0), "apt-get install python3-venv: {}", made.stderr);
        let mut pip = Command::new(venv.join("bin/pip"));
        let installed = finish(pip.args(["install", "--quiet", "componentize-py==0.25.1"]), b"", LONG);
        assert_eq!(installed.code, Some(0), "{}", installed.stderr);
    }
    Some(program)
}

#[test]
fn a_component_in_python_is_a_handler_even_where_there_is_one_place() {
    let Some(program) = componentize_py() else { return };
    let setup = Setup::new(
        "jobs = 1\n[handler.p]\nmodule = \"p.wasm\"\nlimits.cpu = \"10s\"\n[[route]]\npath = \"/p/{word}\"\nhandler = \"p\"\n",
    )
    .file("command.wit", COMMAND.as_bytes())
    .file("app.py", PYTHON.as_bytes());
    let mut componentize = Command::new(program);
    componentize.arg("-d").arg(setup.path("command.wit")).args([
        "-w",
        "command",
        "componentize",
        "app",
        "-p",
    ]);
    componentize.arg(setup.path("")).arg("-o").arg(setup.path("p.wasm"));
    let made = finish(&mut componentize, b"", LONG);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let mut daemon = setup.spawn();
    // 18 MB are compiled.
    within(LONG, "the component is compiled", || (daemon.log.count("-job reload() =") > 0).then_some(()));
    daemon.ready();

    let response = daemon.client().submit("POST", "/p/last?a=b", "", b"shout it");

    assert_eq!((response.status(), response.text()), (200, "POST a=b last\nSHOUT IT\n"));
}
