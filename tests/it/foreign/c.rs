//! C, with a distribution's compiler and libc.

use std::fs;
use std::process::Command;

use super::{LONG, build, tried};
use crate::bytes::pattern;
use crate::harness::{Program, Setup, finish, found, portcullis};

/// A file of Debian's wasi-libc.
const SYSROOT: &str = "/usr/lib/wasm32-wasi/libc.a";

/// A CGI program in the style of thirty years ago.
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

/// Returns the C compiler, if it and its files for WASI are installed.
pub(super) fn compiler() -> Option<&'static str> {
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

    let (_daemon, response) =
        tried("C, wasi-libc", setup, |daemon| daemon.client().submit("POST", "/c/last?a=b", "", b"shout it"));

    assert_eq!((response.status(), response.field("x-made-with")), (200, Some("C")));
    assert_eq!(response.text(), "POST a=b 2 last\nSHOUT IT");
}

/// A gate, as the page on gates shows it.
const GATE: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    const char *key = getenv("HTTP_X_API_KEY");
    if (key && strcmp(key, "letmein") == 0) {
        puts("Status: 204\nRemote-User: ada\nGate-Role: admin\n");
    } else {
        puts("Status: 401\nContent-Type: text/plain\nWWW-Authenticate: Key\n\nwho are you?");
    }
}
"#;

#[test]
fn a_gate_in_c_lets_pass_and_turns_away() {
    let Some(compiler) = compiler() else { return };
    let setup = Setup::new("[handler.key]\nmodule = \"key.wasm\"\n")
        .handler("env", "", &Program::text().environment().wasm())
        .add("before = [\"key\"]\n")
        .file("key.c", GATE.as_bytes());
    let mut compile = Command::new(compiler);
    compile.args(["--target=wasm32-wasi", "-O1", "-o"]).arg(setup.path("key.wasm")).arg(setup.path("key.c"));
    build(&mut compile);
    let daemon = setup.start();

    let passed = daemon.client().ask("GET", "/env", "X-Api-Key: letmein\r\n");
    let refused = daemon.client().ask("GET", "/env", "X-Api-Key: guess\r\n");

    for variable in ["REMOTE_USER=ada", "AUTH_TYPE=key", "GATE_ROLE=admin"] {
        assert!(passed.text().split('\0').any(|found| found == variable), "{variable}: {}", passed.text());
    }
    assert_eq!((refused.status(), refused.text()), (401, "who are you?\n"));
    assert_eq!(refused.field("www-authenticate"), Some("Key"));
}

/// Moves as many bytes as its arguments say with each I/O call of C, and reports whether they arrived.
const BYTES: &str = include_str!("bytes.c");

/// Sizes around one internal transfer of a file, and around the former limit of the host for one call.
const SIZES: [usize; 8] =
    [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, (2 << 20) - 1, 2 << 20, (2 << 20) + 1, 4_000_000, 8 << 20];

#[test]
fn reads_and_writes_in_c_are_as_large_as_a_program_likes() {
    let Some(compiler) = compiler() else { return };
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("bytes.c"), BYTES).unwrap();
    fs::create_dir(at("data")).unwrap();
    let mut compile = Command::new(compiler);
    build(
        compile.args(["--target=wasm32-wasi", "-O1", "-Wall", "-o"]).arg(at("bytes.wasm")).arg(at("bytes.c")),
    );
    let run = |verb: &str, size: usize, stdin: &[u8]| {
        let mut command = portcullis();
        command
            .arg("run")
            .arg("--mount")
            .arg(format!("{}::/data", at("data").display()))
            .arg(at("bytes.wasm"));
        let ended = finish(command.arg(verb).arg(size.to_string()), stdin, LONG);
        assert_eq!(
            ended.code,
            Some(0),
            "{verb} {size}: {}{}",
            String::from_utf8_lossy(&ended.stdout),
            ended.stderr
        );
        ended.stdout
    };

    for size in SIZES {
        for verb in ["stdio", "descriptors", "vectors", "places", "random"] {
            assert_eq!(
                String::from_utf8(run(verb, size, b"")).unwrap(),
                format!("{size}\n"),
                "{verb} {size}"
            );
        }
        for verb in ["fread", "read"] {
            let said = String::from_utf8(run(verb, size, &pattern(size))).unwrap();
            assert_eq!(said, format!("{size}\n"), "{verb} {size}");
        }
        for verb in ["fwrite", "write"] {
            assert!(run(verb, size, b"") == pattern(size), "{verb} {size}");
        }
    }
    assert_eq!(run("list", 3000, b""), b"3000\n");
}
