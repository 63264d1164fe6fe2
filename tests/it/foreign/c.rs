//! C, with the compiler and the libc of a distribution.

use std::fs;
use std::process::Command;

use super::build;
use crate::harness::{Setup, found};

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
    build(&mut compile);
    let daemon = setup.start();

    let response = daemon.client().submit("POST", "/c/last?a=b", "", b"shout it");

    assert_eq!((response.status(), response.field("x-made-with")), (200, Some("C")));
    assert_eq!(response.text(), "POST a=b 2 last\nSHOUT IT");
}
