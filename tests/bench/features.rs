//! The rows that show what a feature costs, each beside the same server without it.

use crate::baseline::Tongue;
use crate::load::Exchange;
use crate::rows::{GREETING, Over, Row, Serves, row};

/// A module that is granted a store and uses it once. `USES` is the call, with `$store` as an operand.
const STORED: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "portcullis_store_v1" "open" (func $open (param i32 i32) (result i32)))
  (import "portcullis_store_v1" "get" (func $get (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "portcullis_store_v1" "set" (func $set (param i32 i32 i32 i32 i32 i64 i32 i64 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\39\00\00\00") ;; one piece: at 16, 57 bytes
  (data (i32.const 16) "Content-Type: text/plain; charset=utf-8\r\n\r\nHello, bench!\n")
  (data (i32.const 128) "default") ;; the store; its first letter is the key
  (func $put (param $store i32) (drop (call $set (local.get $store) (i32.const 128) (i32.const 1)
    (i32.const 16) (i32.const 57) (i64.const 0) (i32.const 0) (i64.const 0) (i32.const 256))))
  (func (export "_start") (local $store i32)
    (local.set $store (call $open (i32.const 128) (i32.const 7)))
    USES
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// Reads the value. The first request finds none and sets it.
const GET: &str = "(if (i32.eq (i32.const -2) (call $get (local.get $store) (i32.const 128) (i32.const 1)
      (i32.const 1024) (i32.const 64) (i32.const 256))) (then (call $put (local.get $store))))";

/// Sets the value.
const SET: &str = "(call $put (local.get $store))";

/// A module that reads all of its input and then greets.
const READS: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\10\00\00\00\39\00\00\00") ;; one piece: at 16, 57 bytes
  (data (i32.const 16) "Content-Type: text/plain; charset=utf-8\r\n\r\nHello, bench!\n")
  (data (i32.const 128) "\00\00\01\00\00\00\01\00") ;; one piece: at 65536, 65536 bytes
  (func (export "_start")
    (loop $more
      (if (i32.eqz (call $fd_read (i32.const 0) (i32.const 128) (i32.const 1) (i32.const 136)))
        (then (br_if $more (i32.load (i32.const 136))))))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// Returns the modules of these rows in text format, by their names.
pub(crate) fn modules() -> [(&'static str, String); 3] {
    [
        ("get.wasm", STORED.replace("USES", GET)),
        ("set.wasm", STORED.replace("USES", SET)),
        ("reads.wasm", READS.to_owned()),
    ]
}

/// Returns a text of 4 KiB, which compresses about as well as a page does.
pub(crate) fn page() -> String {
    const WORDS: [&str; 16] = [
        "request", "handler", "a", "the", "of", "route", "is", "sandbox", "instance", "and", "limit", "to",
        "gate", "module", "its", "answers",
    ];
    let mut text = String::new();
    let mut state = 1_u32;
    while text.len() < 4096 {
        // The generator of Numerical Recipes: the same text in every process.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text += WORDS[(state >> 28) as usize];
        text.push(' ');
    }
    text.truncate(4096);
    text
}

/// Makes the rows. Those without `beside` are the servers to compare with.
pub(crate) fn all() -> Vec<Row> {
    let beside = |base, row| Row { beside: Some(base), ..row };
    let sends = |fields: &str, row: Row| Row {
        exchange: Exchange { fields: fields.to_owned(), ..row.exchange },
        ..row
    };
    let large = |row: Row| Row { exchange: Exchange::get("/4k.txt", &page()), against: "hyper-4k", ..row };
    let posted = |is_chunked, row: Row| Row {
        exchange: Exchange { method: "POST", sends: vec![b'x'; 1 << 20], is_chunked, ..row.exchange },
        against: "hyper-post-1m",
        ..row
    };
    let reads = || trivial("reads.wasm", "scratch = \"scratch\"\n", "", "");
    let squeezed = |name, title: &str, coding: &str| {
        let made = large(row(name, title, responds_large(&format!("compress = [{coding:?}]"))));
        let made = sends(&format!("Accept-Encoding: {coding}\r\n"), made);
        beside("respond-4k", Row { exchange: Exchange { any_body: true, ..made.exchange }, ..made })
    };
    let tls = |row| Row { over: Over::Tls(Tongue::Http1), against: "tls-hyper", ..row };
    let gate = |name, title: &str, gate: &str, fields: &str| {
        let server = responds(&format!("[gate.it]\n{gate}\n"), "before = [\"it\"]");
        beside("respond", sends(fields, row(name, title, server)))
    };
    let trivially = |top: &str, handlers: &str, route: &str| trivial("trivial.wasm", top, handlers, route);
    let logged = |name, format: &str| {
        let top = format!("access_log = {format:?}\naccess_log_file = \"access.log\"\n");
        let title = format!("wasip1, hand-written, `access_log = {format:?}`");
        beside("defaults", row(name, &title, trivially(&top, "", "")))
    };
    let stored = |name, module: &str, what: &str, url: &str| {
        let store = format!("stores = [\"default\"]\n[store.default]\nurl = {url:?}\n");
        let title = format!("wasip1, hand-written, one {what} in `{url}`");
        beside("defaults", row(name, &title, trivial(module, "", &store, "")))
    };
    let certificate = "kind = \"client_certificate\"\nnames = [\"localhost\"]";
    let client_ca = "tls.client_ca = \"cert.pem\"\n";
    let of_certificate = responds(&format!("{client_ca}[gate.it]\n{certificate}\n"), "before = [\"it\"]");
    vec![
        row(
            "quiet",
            "wasip1, hand-written, `history = \"none\"`, `histograms = false`",
            trivially("history = \"none\"\nhistograms = false\n", "", ""),
        ),
        beside(
            "quiet",
            row("defaults", "wasip1, hand-written, metrics and history by default", trivially("", "", "")),
        ),
        logged("log-common", "common"),
        logged("log-json", "json"),
        beside(
            "defaults",
            row(
                "gate-handler",
                "wasip1, hand-written, behind a gate that is the same module",
                trivially("", "[handler.gate]\nmodule = \"trivial.wasm\"\n", "before = [\"gate\"]"),
            ),
        ),
        stored("get-memory", "get.wasm", "`get`", "memory:"),
        stored("set-memory", "set.wasm", "`set`", "memory:"),
        stored("get-redb", "get.wasm", "`get`", "redb:get.redb"),
        row("respond", "`respond`, no handler", responds("", "")),
        beside(
            "respond",
            row(
                "limit",
                "`respond` with a rate limit by address",
                responds("", "limit = { rate = \"1000000/s\", burst = 1000000 }"),
            ),
        ),
        gate(
            "gate-addresses",
            "`respond` behind `addresses`",
            "kind = \"addresses\"\nallow = [\"10.0.0.0/8\", \"127.0.0.0/8\"]",
            "",
        ),
        gate(
            "gate-basic",
            "`respond` behind `basic`, the password is remembered",
            "kind = \"basic\"\nusers_file = \"users\"",
            "Authorization: Basic BASIC\r\n",
        ),
        gate(
            "gate-jwt",
            "`respond` behind `jwt`, HS256",
            "kind = \"jwt\"\nalgorithms = [\"HS256\"]\nsecret = \"secret\"",
            "Authorization: Bearer HS256\r\n",
        ),
        gate(
            "gate-jwt-es256",
            "`respond` behind `jwt`, ES256",
            "kind = \"jwt\"\nalgorithms = [\"ES256\"]\nkey = \"es256.pem\"",
            "Authorization: Bearer ES256\r\n",
        ),
        large(row("hyper-4k", "bare hyper, 4 KiB", Serves::Hyper)),
        large(row("respond-4k", "`respond` with 4 KiB", responds_large(""))),
        Row {
            exchange: Exchange::get("/file/4k.txt", &page()),
            ..row("hyper-file", "bare hyper, 4 KiB with the fields of a file", Serves::Hyper)
        },
        large(row(
            "static",
            "`static`, a file of 4 KiB",
            Serves::Daemon("[[route]]\npath = \"/{*path}\"\nstatic = { dir = \"public\" }\n".to_owned()),
        )),
        squeezed("gzip", "`respond` with 4 KiB, gzip", "gzip"),
        squeezed("zstd", "`respond` with 4 KiB, zstd", "zstd"),
        squeezed("br", "`respond` with 4 KiB, br", "br"),
        posted(false, row("hyper-post-1m", "bare hyper, a body of 1 MiB", Serves::Hyper)),
        posted(false, row("post-1m-length", "wasip1, hand-written, reads 1 MiB", reads())),
        beside(
            "post-1m-length",
            posted(
                true,
                row("post-1m-chunked", "wasip1, hand-written, reads 1 MiB without a length", reads()),
            ),
        ),
        tls(row("tls-respond", "`respond`, no handler", responds(client_ca, ""))),
        tls(beside(
            "tls-respond",
            row("gate-certificate", "`respond` behind `client_certificate`", of_certificate),
        )),
    ]
}

/// Configures the hand-written module behind a route. `top` comes before all tables, and `handlers` continues the table
/// of the handler.
fn trivial(module: &str, top: &str, handlers: &str, route: &str) -> Serves {
    Serves::Daemon(format!(
        "{top}[handler.it]\nmodule = {module:?}\n{handlers}\n[[route]]\npath = \"/hello/{{who}}\"\nhandler = \"it\"\n{route}\n"
    ))
}

/// Configures a route that greets without a handler.
fn responds(top: &str, route: &str) -> Serves {
    Serves::Daemon(format!(
        "{top}[[route]]\npath = \"/hello/{{who}}\"\nrespond = {{ body = {GREETING:?} }}\n{route}\n"
    ))
}

/// Configures a route that answers with the page without a handler.
fn responds_large(route: &str) -> Serves {
    Serves::Daemon(format!("[[route]]\npath = \"/4k.txt\"\nrespond = {{ body = {:?} }}\n{route}\n", page()))
}
