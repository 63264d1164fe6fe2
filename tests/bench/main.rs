//! `cargo bench --bench http`: the cost of a request to a sandboxed handler, compared with bare hyper.
//!
//! Each row has its own server process, driven by this client. A round measures all rows, one after the other, so that
//! a temporary disturbance of the machine affects every row.

mod baseline;
mod features;
mod load;
mod options;
mod report;
mod rows;
mod servers;
mod site;
mod stores;
mod tls;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use baseline::Tongue;
use clap::Parser as _;
use load::{Client, Exchange, Way};
use options::Options;
use portcullis::observe::heap::ProfiledAllocator;
use report::{Measurement, Table};
use rows::{OF_WASMTIME, Over, Row, Serves};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use servers::Server;
use site::Site;
use stores::StoreTable;

/// The daemon's allocator, for the bare server as well: the ratio must not compare allocators.
#[global_allocator]
static ALLOCATOR: ProfiledAllocator = ProfiledAllocator;

/// The number of concurrent requests; on HTTP/1.1, one per connection.
const AT_ONCE: usize = 16;

/// The number of concurrent requests on each HTTP/2 connection.
const STREAMS: usize = 4;

/// How long a server runs under load before it is measured: pools fill up, and processors raise their clock.
const WARM_UP: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options {
        Options { baseline_server: Some(tongue), certificate, .. } => {
            baseline::serve(*tongue, certificate.as_deref())
        }
        Options { bench: true, .. } => measure(&options),
        // A test run has no time for measurements, and would gain nothing from them.
        Options { .. } => {
            tell("nothing is measured: this is for `cargo bench`");
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Measures every row once a round and prints the medians.
fn measure(options: &Options) -> Result<()> {
    raise_descriptor_limit()?;
    let (stores, only): (Vec<_>, Vec<_>) =
        options.only.iter().cloned().partition(|name| name == stores::NAME);
    // An empty request selects everything.
    let is_whole = options.only.is_empty();
    let with_stores = is_whole || !stores.is_empty();
    let rows = match is_whole || !only.is_empty() {
        true => rows::chosen(features::all(), &only, wasmtime(options))?,
        false => Vec::new(),
    };
    let each = options.seconds + WARM_UP + Duration::from_secs(1);
    let all = each * options.rounds * (u32::try_from(rows.len())? + if with_stores { 6 } else { 0 });
    tell(&format!(
        "{} rows, {} rounds: some {} s, and what the handlers take to build",
        rows.len(),
        options.rounds,
        all.as_secs()
    ));
    let site = Site::build()?;
    let (mut table, mut kept) = (Table::new(&rows), StoreTable::default());
    for round in 1..=options.rounds {
        for (number, row) in rows.iter().enumerate() {
            let measurement =
                once(row, &site, options.seconds).with_context(|| format!("row {:?}", row.name))?;
            tell(&format!("round {round} of {}, {}: {measurement}", options.rounds, row.name));
            table.add(number, measurement);
        }
        if with_stores {
            kept.measure(&site, options.seconds)?;
            tell(&format!("round {round} of {}, stores", options.rounds));
        }
    }
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "{table}").context("write the table")?;
    write!(stdout, "{}", table.costs()).context("write the costs")?;
    if with_stores {
        // In Markdown, an empty line ends a table.
        let apart = if rows.is_empty() { "" } else { "\n" };
        write!(stdout, "{apart}{kept}").context("write the table")?;
    }
    writeln!(stdout, "\n{}", report::circumstances(options, &table)?).context("write the table")
}

/// Finds the `wasmtime` program to compare with.
fn wasmtime(options: &Options) -> Option<PathBuf> {
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join("wasmtime")).find(|program| program.is_file())
    };
    let found = options.wasmtime.clone().or_else(on_path);
    if found.is_none() {
        tell("there is no `wasmtime` on PATH: its rows are left out; --wasmtime PROGRAM names another");
    }
    found
}

/// Starts the server of a row, drives it for `time` and ends it.
fn once(row: &Row, site: &Site, time: Duration) -> Result<Measurement> {
    let secure = row.over.is_secure();
    let server = match &row.server {
        Serves::Hyper => Server::hyper(row.over.tongue(), secure.then(|| site.dir()))?,
        Serves::Daemon(config) => Server::daemon(&site.config(row.name, config, secure)?)?,
        Serves::Wasmtime(program, arguments) => {
            Server::wasmtime(program, arguments, Path::new(&site.placed(OF_WASMTIME)))?
        }
    };
    let _idle = load::idle(server.address, row.idle)?;
    let fields = site.placed(&row.exchange.fields);
    let exchange = Exchange { fields, ..row.exchange.clone() };
    let mut client = Client::connect(server.address, &exchange, way(row.over, site)?)?;
    client.run(WARM_UP)?;
    server.forget_peak();
    let used = || anyhow::Ok([server.cpu()?, servers::cpu_of(std::process::id())?, servers::cpu_of_all()?]);
    let before = used()?;
    let start = Instant::now();
    let latencies = client.run(time)?;
    let elapsed = start.elapsed();
    let after = used()?;
    let [server_cpu, client_cpu, all_cpu] = std::array::from_fn(|of| after[of].saturating_sub(before[of]));
    let peak = server.peak()?;
    Ok(Measurement::new(report::Observed { latencies, elapsed, server_cpu, client_cpu, all_cpu, peak }))
}

/// Returns how the client sends requests. The number of concurrent requests is always the same.
fn way(over: Over, site: &Site) -> Result<Way> {
    let tls = over.is_secure().then(|| tls::client(site.dir(), over.tongue())).transpose()?.map(Arc::new);
    let renewed = over == Over::Handshakes;
    Ok(match over.tongue() {
        Tongue::Http1 => Way { tls, renewed, ..Way::plain(AT_ONCE) },
        Tongue::Http2 => Way { tls, streams: Some(STREAMS), ..Way::plain(AT_ONCE / STREAMS) },
    })
}

/// Raises the limit on open files of this process and its children to the hard limit: a row holds 1,000 connections.
fn raise_descriptor_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("raise the limit of open files")
}

/// Prints a line on stderr for the person who runs this; stdout is for the tables.
fn tell(line: &str) {
    // A closed stderr has no reader, so the line is dropped.
    let _gone = writeln!(std::io::stderr(), "{line}");
}
