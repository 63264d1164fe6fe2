//! The figures of stores: what a `get` adds to a request, and how durable writes share their fsync.

use std::fmt;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::load::{Client, Exchange, Way};
use crate::report::{grouped, median};
use crate::rows::GREETING;
use crate::servers::Server;
use crate::site::Site;
use crate::{AT_ONCE, STREAMS, WARM_UP};

/// The name for `--only`.
pub(crate) const NAME: &str = "stores";

/// The stores, each with the rest of its table.
const STORES: [(&str, &str); 3] = [
    ("sync", "url = \"redb:sync.redb\""),
    ("relaxed", "url = \"redb:relaxed.redb\"\ndurability = \"relaxed\""),
    ("memory", "url = \"memory:\""),
];

/// What is measured in each round, beside writes with an fsync each.
const MEASURED: [Measured; 6] = [
    Measured { title: "durable `set` of 100 bytes, HTTP/1.1", path: "/set", clients: AT_ONCE, streams: None },
    Measured {
        title: "durable `set` of 100 bytes, HTTP/2",
        path: "/set",
        clients: AT_ONCE,
        streams: Some(STREAMS),
    },
    Measured { title: "nothing, without a store", path: NOTHING, clients: 1, streams: None },
    Measured { title: "`get` of 100 bytes, `redb:`", path: "/get-sync", clients: 1, streams: None },
    Measured {
        title: "`get` of 100 bytes, `redb:` and relaxed",
        path: "/get-relaxed",
        clients: 1,
        streams: None,
    },
    Measured { title: "`get` of 100 bytes, `memory:`", path: "/get-memory", clients: 1, streams: None },
];

const NOTHING: &str = "/nothing";

/// A request, and the clients that repeat it.
struct Measured {
    title: &'static str,
    path: &'static str,
    /// The connections.
    clients: usize,
    /// The concurrent requests on each, as in [`Way`].
    streams: Option<usize>,
}

/// The requests per second and the median latency in microseconds.
#[derive(Clone, Copy)]
struct Observed {
    rate: f64,
    p50_us: f64,
}

/// One round.
struct Round {
    /// Writes per second, each with an fsync of its own.
    alone: f64,
    observed: Vec<Observed>,
}

/// All rounds.
#[derive(Default)]
pub(crate) struct StoreTable(Vec<Round>);

impl StoreTable {
    /// Measures a round with a new daemon and new stores.
    ///
    /// # Errors
    /// The daemon does not start, or a response is wrong.
    pub(crate) fn measure(&mut self, site: &Site, time: Duration) -> Result<()> {
        for (name, _) in STORES {
            // The first round has none.
            let _absent = fs::remove_file(site.dir().join(format!("{name}.redb")));
        }
        let alone = fsyncs(site.dir(), time)?;
        let server = Server::daemon(&site.config(NAME, &config(site.dir())?, false)?)?;
        for (name, _) in STORES {
            // Until the key is there.
            while drive(&server, &format!("/fill-{name}"), &Way::plain(1), Duration::from_millis(10))?.rate
                == 0.0
            {}
        }
        let mut observed = Vec::new();
        for Measured { path, clients, streams, .. } in MEASURED {
            let way = Way { streams, ..Way::plain(clients) };
            let one = drive(&server, path, &way, WARM_UP).and_then(|_| drive(&server, path, &way, time));
            observed.push(one.with_context(|| format!("stores, {path}"))?);
        }
        self.0.push(Round { alone, observed });
        Ok(())
    }

    /// Returns the median of a figure of each round.
    fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.0.iter().map(figure).collect())
    }
}

impl fmt::Display for StoreTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| wasip1, hand-written, with a store | at a time | requests/s | p50 | compared |")?;
        writeln!(f, "|---|--:|--:|--:|--:|")?;
        let alone = grouped(self.median(|round| round.alone));
        writeln!(f, "| a write of 100 bytes and an fsync, without a daemon | 1 | {alone} | | |")?;
        let nothing = MEASURED.iter().position(|measured| measured.path == NOTHING).unwrap_or_default();
        for (place, Measured { title, path, clients, streams }) in MEASURED.iter().enumerate() {
            let rate = grouped(self.median(|round| round.observed[place].rate));
            let p50 = self.median(|round| round.observed[place].p50_us);
            let at_once = clients * streams.unwrap_or(1);
            let compared = match *path {
                NOTHING => String::new(),
                "/set" => {
                    let times = self.median(|round| round.observed[place].rate / round.alone);
                    format!("{times:.1} times the writes with an fsync each")
                }
                _ => {
                    let more =
                        self.median(|round| round.observed[place].p50_us - round.observed[nothing].p50_us);
                    format!("{more:+.1} µs")
                }
            };
            writeln!(f, "| {title} | {at_once} | {rate} | {p50:.1} µs | {compared} |")?;
        }
        Ok(())
    }
}

/// Writes and syncs a file over and over. Returns how often a second.
fn fsyncs(dir: &Path, time: Duration) -> Result<f64> {
    let mut file = File::create(dir.join("fsync")).context("make a file")?;
    let start = Instant::now();
    let mut count = 0.0;
    while start.elapsed() < time {
        file.write_all(&[0; 100]).context("write")?;
        file.sync_data().context("fsync")?;
        count += 1.0;
    }
    Ok(count / start.elapsed().as_secs_f64())
}

fn drive(server: &Server, path: &str, way: &Way, time: Duration) -> Result<Observed> {
    let exchange = Exchange::get(path, GREETING);
    let mut client = Client::connect(server.address, &exchange, way.clone())?;
    let start = Instant::now();
    let mut latencies = client.run(time)?;
    let rate = latencies.len() as f64 / start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let p50 = latencies.get(latencies.len() / 2).copied().unwrap_or_default();
    Ok(Observed { rate, p50_us: p50.as_secs_f64() * 1e6 })
}

/// Writes the modules into a directory, and returns the configuration that serves them.
fn config(dir: &Path) -> Result<String> {
    let set = "(call $set (call $default) (i32.const 256) (i32.const 8) (i32.const 1024) (i32.const 100)
        (i64.const 0) (i32.const 0) (i64.const 0) (i32.const 272))";
    let get = "(call $get (call $default) (i32.const 256) (i32.const 8) (i32.const 1024) (i32.const 100)
        (i32.const 272))";
    // One of 4,096 keys.
    let other_key = "(drop (call $random_get (i32.const 256) (i32.const 8)))
        (i64.store (i32.const 256) (i64.or (i64.const 0x4040404040404040)
            (i64.and (i64.const 0x0f0f0f) (i64.load (i32.const 256)))))";
    let modules = [
        ("fill.wasm", format!("(call $need {set})")),
        ("set.wasm", format!("{other_key} (call $need {set})")),
        ("get.wasm", format!("(call $need {get})")),
    ];
    for (file, body) in &modules {
        fs::write(dir.join(file), wat::parse_str(module(body))?).context("write a module")?;
    }
    let mut config = String::new();
    for (name, table) in STORES {
        config += &format!("[store.{name}]\n{table}\n");
    }
    let mut serve = |path: &str, module: &str, store: &str| {
        let name = path.trim_start_matches('/');
        config +=
            &format!("[handler.{name}]\nmodule = \"{module}\"\n{store}\n[[route]]\npath = \"{path}\"\n");
        config += &format!("handler = \"{name}\"\n");
    };
    serve(NOTHING, "trivial.wasm", "");
    serve("/set", "set.wasm", "stores = { default = \"sync\" }");
    for (name, _) in STORES {
        let store = format!("stores = {{ default = \"{name}\" }}");
        serve(&format!("/fill-{name}"), "fill.wasm", &store);
        serve(&format!("/get-{name}"), "get.wasm", &store);
    }
    Ok(config)
}

/// A module that does something with the store `default`, and greets.
fn module(body: &str) -> String {
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "portcullis_store_v1" "open" (func $open (param i32 i32) (result i32)))
  (import "portcullis_store_v1" "get" (func $get (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "portcullis_store_v1" "set"
    (func $set (param i32 i32 i32 i32 i32 i64 i32 i64 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\39\00\00\00") ;; one piece: at 16, 57 bytes
  (data (i32.const 16) "Content-Type: text/plain; charset=utf-8\r\n\r\nHello, bench!\n")
  (data (i32.const 128) "default")
  (data (i32.const 256) "@@@@@@@@")
  (func $default (result i32) (call $open (i32.const 128) (i32.const 7)))
  (func $need (param i32) (if (i32.lt_s (local.get 0) (i32.const 0)) (then (unreachable))))
  (func (export "_start") {body}
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    )
}
