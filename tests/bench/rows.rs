//! What is measured: the rows of the table.

use anyhow::{Result, ensure};

/// What every handler of a trivial row says.
pub(crate) const GREETING: &str = "Hello, bench!\n";

/// One line of the table: a request, and who answers it.
pub(crate) struct Row {
    /// What `--only` calls it.
    pub(crate) name: &'static str,
    /// What the table calls it.
    pub(crate) title: &'static str,
    /// The handler and its route, for the daemon; none: the bare server answers.
    pub(crate) config: Option<&'static str>,
    /// What is asked and what must come back.
    pub(crate) exchange: Exchange,
    /// Connections that are open besides, and ask nothing.
    pub(crate) idle: usize,
    /// The name of the row it is compared to.
    pub(crate) against: &'static str,
}

/// A request and the body of the response to it.
pub(crate) struct Exchange {
    /// The request as it is sent.
    pub(crate) request: Vec<u8>,
    /// The body that a response must have; its status must be 200.
    pub(crate) body: Vec<u8>,
}

/// A handler in text format that writes a fixed document: a sandbox, and next to nothing in it.
pub(crate) const TRIVIAL: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\39\00\00\00") ;; one piece: at 16, 57 bytes
  (data (i32.const 16) "Content-Type: text/plain; charset=utf-8\r\n\r\nHello, bench!\n")
  (func (export "_start") (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

const WAT: &str = r#"
[handler.trivial]
module = "trivial.wasm"
[[route]]
path = "/hello/{who}"
handler = "trivial"
"#;

const HELLO: &str = r#"
[handler.hello]
module = "BUILD/hello.wasm"
[[route]]
path = "/hello/{who}"
handler = "hello"
"#;

const HELLO2: &str = r#"
[handler.hello]
module = "BUILD/hello-wasip2.wasm"
[[route]]
path = "/hello/{who}"
handler = "hello"
"#;

const GREET: &str = r#"
[handler.greet]
module = "BUILD/greet.wasm"
[[route]]
path = "/hello/{who}"
handler = "greet"
"#;

const GREET_REUSED: &str = r#"
[handler.greet]
module = "BUILD/greet.wasm"
reuse = 128
[[route]]
path = "/hello/{who}"
handler = "greet"
"#;

const ECHO: &str = r#"
[handler.echo]
module = "BUILD/echo.wasm"
[[route]]
path = "/echo"
handler = "echo"
"#;

/// Connections of the rows that show what an idle connection costs.
const IDLE: usize = 1000;

/// Returns the rows that were asked for, each with the one it is compared to; all, if none was.
///
/// # Errors
/// A name that no row has.
pub(crate) fn chosen(only: &[String]) -> Result<Vec<Row>> {
    let mut rows = all();
    let names = rows.iter().map(|row| row.name).collect::<Vec<_>>();
    for name in only {
        ensure!(names.contains(&name.as_str()), "--only {name}: wanted one of {}", names.join(", "));
    }
    let asked = |row: &&Row| only.is_empty() || only.iter().any(|name| name == row.name);
    let wanted = rows.iter().filter(asked).flat_map(|row| [row.name, row.against]).collect::<Vec<_>>();
    rows.retain(|row| wanted.contains(&row.name));
    Ok(rows)
}

fn all() -> Vec<Row> {
    let row =
        |name, title, config| Row { name, title, config, exchange: greeting(), idle: 0, against: "hyper" };
    let large = |row| Row { exchange: echo(), against: "hyper-echo", ..row };
    let crowded = |row| Row { idle: IDLE, against: "hyper-idle", ..row };
    vec![
        row("hyper", "bare hyper, no sandbox", None),
        Row { exchange: health(), ..row("healthz", "`/healthz`, no sandbox", Some("")) },
        row("wat", "wasip1, hand-written, one `fd_write`", Some(WAT)),
        row("wasip1", "wasip1, Rust with the SDK", Some(HELLO)),
        row("wasip2", "wasip2, the same source", Some(HELLO2)),
        row("http", "wasi:http 0.2, Rust, a fresh instance each", Some(GREET)),
        row("http-reused", "wasi:http 0.2, the same, `reuse = 128`", Some(GREET_REUSED)),
        large(row("hyper-echo", "bare hyper, echo of 64 KiB", None)),
        large(row("echo", "wasip1, echo of 64 KiB", Some(ECHO))),
        crowded(row("hyper-idle", "bare hyper, 1,000 idle connections", None)),
        crowded(row("idle", "wasip1, hand-written, 1,000 idle connections", Some(WAT))),
    ]
}

fn greeting() -> Exchange {
    let request = b"GET /hello/bench HTTP/1.1\r\nHost: bench\r\n\r\n".to_vec();
    Exchange { request, body: GREETING.into() }
}

fn health() -> Exchange {
    let request = b"GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n".to_vec();
    Exchange { request, body: b"open\n".to_vec() }
}

fn echo() -> Exchange {
    let body: Vec<u8> = (0..=u8::MAX).cycle().take(64 << 10).collect();
    let head = format!("POST /echo HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n\r\n", body.len());
    Exchange { request: [head.as_bytes(), &body].concat(), body }
}
