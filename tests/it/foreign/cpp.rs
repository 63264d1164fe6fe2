//! C++ with exceptions, from a compiler that writes their legacy encoding.

use std::process::Command;

use super::tools::npm;
use super::{build, c, tried};
use crate::harness::Setup;

/// Throws through destructors, twice.
const SOURCE: &str = include_str!("throw.cpp");

#[test]
fn a_program_in_cpp_that_throws_runs_once_it_is_translated_as_its_refusal_says() {
    let (Some(_compiler), Some(tools)) = (c::compiler(), npm()) else { return };
    let setup = Setup::new("[handler.t]\nmodule = \"t.wasm\"\n[[route]]\npath = \"/\"\nhandler = \"t\"\n")
        .file("t.cpp", SOURCE.as_bytes());
    let (module, old) = (setup.path("t.wasm"), setup.path("old.wasm"));
    let mut compile = Command::new("clang++");
    // clang 14 fails to optimise exceptions.
    compile.args(["--target=wasm32-wasi", "-O0", "-fwasm-exceptions", "-nostdlib++", "-o"]);
    build(compile.arg(&old).arg(setup.path("t.cpp")));
    let refused = Setup::one("", &std::fs::read(&old).unwrap()).fail();
    assert!(refused.stderr.contains("`wasm-opt --translate-to-exnref`"), "{}", refused.stderr);

    let mut translate = tools.run("binaryen/bin/wasm-opt");
    translate.args(["--enable-exception-handling", "--enable-reference-types", "--enable-multivalue"]);
    build(translate.arg(old).args(["--translate-to-exnref", "-o"]).arg(module));
    let (_daemon, response) = tried("C++, exceptions", setup, |daemon| daemon.get("/"));

    let round = "left 3\nleft 2\nleft 1\ncaught\n";
    assert_eq!((response.status(), response.text()), (200, &*round.repeat(2)));
}
