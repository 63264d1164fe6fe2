//! The rows of the tables: the requests and servers that are measured.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::baseline::Tongue;
use crate::load::Exchange;
use crate::stores;

/// The response of every trivial handler.
pub(crate) const GREETING: &str = "Hello, bench!\n";

/// A row of a table: a request, and the server that answers it.
pub(crate) struct Row {
    /// Its name for `--only`.
    pub(crate) name: &'static str,
    /// Its title in the table.
    pub(crate) title: String,
    /// The server.
    pub(crate) server: Serves,
    /// The request and the expected response.
    pub(crate) exchange: Exchange,
    /// How requests are transported.
    pub(crate) over: Over,
    /// The number of additional, idle connections.
    pub(crate) idle: usize,
    /// The name of the row to compare with: a bare server with the same requests.
    pub(crate) against: &'static str,
    /// The name of the row whose cost is subtracted, if this row shows the cost of a feature.
    pub(crate) beside: Option<&'static str>,
}

/// The kind of server.
#[derive(Clone)]
pub(crate) enum Serves {
    /// The bare server.
    Hyper,
    /// The daemon, with these tables in its configuration.
    Daemon(String),
    /// `wasmtime serve` with these arguments.
    Wasmtime(PathBuf, Vec<&'static str>),
}

/// How requests are transported.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// HTTP of this kind, in clear.
    Clear(Tongue),
    /// HTTP of this kind, over TLS.
    Tls(Tongue),
    /// HTTP/1.1 over TLS, with a connection and a full handshake for each request.
    Handshakes,
}

impl Over {
    /// Returns the version of HTTP.
    pub(crate) fn tongue(self) -> Tongue {
        match self {
            Over::Clear(tongue) | Over::Tls(tongue) => tongue,
            Over::Handshakes => Tongue::Http1,
        }
    }

    /// Reports whether requests use TLS.
    pub(crate) fn is_secure(self) -> bool {
        !matches!(self, Over::Clear(_))
    }

    /// Returns the title of a table of such rows.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Over::Clear(Tongue::Http1) => "HTTP/1.1",
            Over::Tls(Tongue::Http1) => "HTTP/1.1 over TLS",
            Over::Handshakes => "HTTP/1.1 over TLS, a full handshake each",
            Over::Clear(Tongue::Http2) => "HTTP/2",
            Over::Tls(Tongue::Http2) => "HTTP/2 over TLS",
        }
    }
}

/// A handler in text format that writes a fixed document: a sandbox with hardly any content.
pub(crate) const TRIVIAL: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\39\00\00\00") ;; one piece: at 16, 57 bytes
  (data (i32.const 16) "Content-Type: text/plain; charset=utf-8\r\n\r\nHello, bench!\n")
  (func (export "_start") (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// The modules.
const HELLO: &str = "HANDLERS/hello.wasm";
const HELLO2: &str = "HANDLERS/hello-wasip2.wasm";
const GREET: &str = "HANDLERS/greet.wasm";
const SERVICE: &str = "GUESTS/service.wasm";
const ECHO: &str = "HANDLERS/echo.wasm";

/// The component for `wasmtime serve`, the same as in the rows of wasi:http 0.2.
pub(crate) const OF_WASMTIME: &str = GREET;

/// Options that make `wasmtime serve` as fast as possible: they keep resources for the next instance.
const TUNED: [&str; 2] = [
    "-O",
    "pooling-allocator,pooling-memory-keep-resident=2097152,pooling-table-keep-resident=2097152,pooling-async-stack-keep-resident=2097152",
];

/// The connections of the rows that show the cost of idle connections.
const IDLE: usize = 1000;

/// Returns the requested rows, each with the rows it is compared with. `features` follow those of handlers. An empty request selects all rows.
///
/// # Errors
/// A requested row does not exist.
pub(crate) fn chosen(features: Vec<Row>, only: &[String], wasmtime: Option<PathBuf>) -> Result<Vec<Row>> {
    let mut rows = all();
    rows.extend(features);
    if let Some(wasmtime) = wasmtime {
        let place = rows.iter().position(|row| row.against != "hyper").unwrap_or(rows.len());
        rows.splice(place..place, of_wasmtime(wasmtime)?);
    }
    let names = rows.iter().map(|row| row.name).chain([stores::NAME]).collect::<Vec<_>>();
    for name in only {
        ensure!(names.contains(&name.as_str()), "--only {name}: wanted one of {}", names.join(", "));
    }
    let asked = |row: &&Row| only.is_empty() || only.iter().any(|name| name == row.name);
    let compared = |row: &Row| [Some(row.name), Some(row.against), row.beside].into_iter().flatten();
    let mut wanted = rows.iter().filter(asked).flat_map(compared).collect::<Vec<_>>();
    // The rows beside are compared as well.
    let against: Vec<_> =
        rows.iter().filter(|row| wanted.contains(&row.name)).map(|row| row.against).collect();
    wanted.extend(against);
    rows.retain(|row| wanted.contains(&row.name));
    Ok(rows)
}

fn all() -> Vec<Row> {
    let bare = |name, title| row(name, title, Serves::Hyper);
    let trivial = || serves("trivial.wasm", "/hello/{who}", "");
    let of_03 = |row| Row { exchange: Exchange::get("/hello", "hello\n"), ..row };
    let large = |row| Row { exchange: echo(), against: "hyper-echo", ..row };
    let crowded = |row| Row { idle: IDLE, against: "hyper-idle", ..row };
    let over = |over, against, row| Row { over, against, ..row };
    let tls = |row| over(Over::Tls(Tongue::Http1), "tls-hyper", row);
    let handshakes = |row| over(Over::Handshakes, "handshakes-hyper", row);
    let http2 = |row| over(Over::Clear(Tongue::Http2), "http2-hyper", row);
    let http2_tls = |row| over(Over::Tls(Tongue::Http2), "http2-tls-hyper", row);
    vec![
        bare("hyper", BARE),
        Row {
            exchange: Exchange::get("/healthz", "open\n"),
            ..row("healthz", "`/healthz`, no sandbox", Serves::Daemon(String::new()))
        },
        row("wat", TRIVIALLY, trivial()),
        row("wasip1", "wasip1, Rust with the SDK", serves(HELLO, "/hello/{who}", "")),
        row("wasip2", "wasip2, the same source", serves(HELLO2, "/hello/{who}", "")),
        row("http", "wasi:http 0.2, Rust", serves(GREET, "/hello/{who}", "")),
        row("http-reused", "wasi:http 0.2, `reuse = 128`", serves(GREET, "/hello/{who}", "reuse = 128")),
        of_03(row("http3", "wasi:http 0.3, Rust", serves_03(SERVICE, ""))),
        of_03(row("http3-reused", "wasi:http 0.3, `reuse = 128`", serves_03(SERVICE, "reuse = 128"))),
        large(bare("hyper-echo", "bare hyper, echo of 64 KiB")),
        large(row("echo", "wasip1, echo of 64 KiB", serves(ECHO, "/echo", ""))),
        crowded(bare("hyper-idle", "bare hyper, 1,000 idle connections besides")),
        crowded(row("idle", "wasip1, hand-written, 1,000 idle connections besides", trivial())),
        tls(bare("tls-hyper", BARE)),
        tls(row("tls", TRIVIALLY, trivial())),
        handshakes(bare("handshakes-hyper", BARE)),
        handshakes(row("handshakes", TRIVIALLY, trivial())),
        http2(bare("http2-hyper", BARE)),
        http2(row("http2", TRIVIALLY, trivial())),
        http2_tls(bare("http2-tls-hyper", BARE)),
        http2_tls(row("http2-tls", TRIVIALLY, trivial())),
    ]
}

const BARE: &str = "bare hyper, no sandbox";
const TRIVIALLY: &str = "wasip1, hand-written, one `fd_write`";

/// Makes a row that greets over HTTP/1.1, compared with the bare server.
pub(crate) fn row(name: &'static str, title: &str, server: Serves) -> Row {
    let exchange = Exchange::get("/hello/bench", GREETING);
    let over = Over::Clear(Tongue::Http1);
    Row { name, title: title.to_owned(), server, exchange, over, idle: 0, against: "hyper", beside: None }
}

/// Makes a configuration of one handler with a route to it.
fn serves(module: &str, path: &str, settings: &str) -> Serves {
    Serves::Daemon(format!(
        "[handler.it]\nmodule = \"{module}\"\n{settings}\n[[route]]\npath = \"{path}\"\nhandler = \"it\"\n"
    ))
}

/// Makes a configuration of a handler for wasi:http 0.3, which is off by default.
fn serves_03(module: &str, settings: &str) -> Serves {
    match serves(module, "/hello", settings) {
        Serves::Daemon(config) => Serves::Daemon(format!("wasi_http_03 = true\n{config}")),
        other => other,
    }
}

/// Makes the rows of `wasmtime serve`: with its default options, and tuned.
fn of_wasmtime(program: PathBuf) -> Result<Vec<Row>> {
    let version = Command::new(&program).arg("--version").output();
    let version = version.with_context(|| format!("run {} --version", program.display()))?;
    let version = String::from_utf8_lossy(&version.stdout).split(' ').nth(1).unwrap_or("?").trim().to_owned();
    let row = |name, how, arguments: &[&[&'static str]]| Row {
        // The component greets the name from the daemon's route. Here there is no route, so the name is empty.
        exchange: Exchange::get("/hello/bench", "Hello, !\n"),
        ..row(
            name,
            &format!("`wasmtime serve` {version}, wasi:http 0.2{how}"),
            Serves::Wasmtime(program.clone(), arguments.concat()),
        )
    };
    let reused: &[_] = &["--max-instance-reuse-count", "128"];
    Ok(vec![
        row("wasmtime", "", &[]),
        row("wasmtime-pooled", ", pooling allocator", &[&TUNED]),
        row("wasmtime-reused", ", pooling allocator, 128 requests an instance", &[&TUNED, reused]),
    ])
}

fn echo() -> Exchange {
    let body: Vec<u8> = (0..=u8::MAX).cycle().take(64 << 10).collect();
    Exchange { method: "POST", sends: body.clone(), wants: body, ..Exchange::get("/echo", "") }
}
