//! Zig, with its compiler from PyPI.

use std::process::Command;

use super::tools::{pip, place};
use super::{build, tried};
use crate::harness::Setup;

const COMPILER: &str =
    "ziglang==0.15.1 --hash=sha256:4e45994a0e608d9b16ecad255698f5557a2e24de0bd7ba9efb156ab3f3683d9a\n";

/// The source of a CGI program.
const CGI: &str = r#"
const std = @import("std");

pub fn main() !void {
    var arena = std.heap.ArenaAllocator.init(std.heap.wasm_allocator);
    const memory = arena.allocator();
    const env = try std.process.getEnvMap(memory);
    const args = try std.process.argsAlloc(memory);
    const body = try std.fs.File.stdin().readToEndAlloc(memory, 1 << 24);
    _ = std.ascii.upperString(body, body);
    const out = std.fs.File.stdout();
    try out.writeAll(try std.fmt.allocPrint(
        memory,
        "Content-Type: text/plain\nX-Made-With: Zig\n\n{s} {s} {s}\n",
        .{ env.get("REQUEST_METHOD") orelse "", env.get("QUERY_STRING") orelse "", args[args.len - 1] },
    ));
    try out.writeAll(body);
}
"#;

#[test]
fn a_cgi_program_in_zig_is_a_handler() {
    let Some(packages) = pip("zig-0.15.1", COMPILER, &[]) else { return };
    let handler = "[handler.z]\nmodule = \"z.wasm\"\n[[route]]\npath = \"/z/{word}\"\nhandler = \"z\"\n";
    let setup = Setup::new(handler).file("z.zig", CGI.as_bytes());
    let mut zig = Command::new(packages.join("ziglang/zig"));
    zig.arg("build-exe").arg(setup.path("z.zig")).args(["-target", "wasm32-wasi", "-O", "ReleaseSmall"]);
    zig.env("ZIG_GLOBAL_CACHE_DIR", place("zig-cache")).env("ZIG_LOCAL_CACHE_DIR", place("zig-cache"));
    build(zig.arg(format!("-femit-bin={}", setup.path("z.wasm").display())));

    let (_daemon, response) =
        tried("Zig", setup, |daemon| daemon.client().submit("POST", "/z/last?a=b", "", b"shout it"));

    assert_eq!((response.status(), response.field("x-made-with")), (200, Some("Zig")));
    assert_eq!(response.text(), "POST a=b last\nSHOUT IT");
}
