//! `cargo bench --bench http`: what a request to a sandboxed handler costs, beside the same request to a bare hyper server.
//!
//! Each row is measured in processes of its own, a server and this client, one row after the other
//! and all of them once a round: what disturbs the machine for a while disturbs every row.

mod baseline;
mod load;
mod options;
mod report;
mod rows;
mod servers;
mod site;
mod tls;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use baseline::Tongue;
use clap::Parser as _;
use load::{Client, Way};
use options::Options;
use report::{Measurement, Table};
use rows::{OF_WASMTIME, Over, Row, Serves};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use servers::Server;
use site::Site;

/// The allocator of the daemon, for the bare server as well: the ratio must not tell allocators apart.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Requests that are under way at a time: on HTTP/1.1, one on each connection.
const AT_ONCE: usize = 16;

/// Requests at a time on each connection of HTTP/2.
const STREAMS: usize = 4;

/// How long a server runs under load before it is measured: pools fill, and processors speed up.
const WARM_UP: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options {
        Options { baseline_server: Some(tongue), certificate, .. } => {
            baseline::serve(*tongue, certificate.as_deref())
        }
        Options { bench: true, .. } => measure(&options),
        // A test run has no time for this, and nothing to learn from it.
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
    let rows = rows::chosen(&options.only, wasmtime(options))?;
    let each = options.seconds + WARM_UP + Duration::from_secs(1);
    let all = each * options.rounds * u32::try_from(rows.len())?;
    tell(&format!(
        "{} rows, {} rounds: some {} s, and what the handlers take to build",
        rows.len(),
        options.rounds,
        all.as_secs()
    ));
    let site = Site::build()?;
    let mut table = Table::new(&rows);
    for round in 1..=options.rounds {
        for (number, row) in rows.iter().enumerate() {
            let measurement =
                once(row, &site, options.seconds).with_context(|| format!("row {:?}", row.name))?;
            tell(&format!("round {round} of {}, {}: {measurement}", options.rounds, row.name));
            table.add(number, measurement);
        }
    }
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "{table}").context("write the table")?;
    writeln!(stdout, "\n{}", report::circumstances(options, &table)?).context("write the table")
}

/// Finds the `wasmtime` to measure beside.
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

/// Starts the server of a row, drives it for a while and ends it.
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
    let mut client = Client::connect(server.address, &row.exchange, way(row.over, site)?)?;
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

/// Says how the client asks: always for so many things at once.
fn way(over: Over, site: &Site) -> Result<Way> {
    let tls = over.is_secure().then(|| tls::client(site.dir(), over.tongue())).transpose()?.map(Arc::new);
    let renewed = over == Over::Handshakes;
    Ok(match over.tongue() {
        Tongue::Http1 => Way { tls, renewed, ..Way::plain(AT_ONCE) },
        Tongue::Http2 => Way { tls, streams: Some(STREAMS), ..Way::plain(AT_ONCE / STREAMS) },
    })
}

/// Lets this process and its children open all the files they may: a row holds 1,000 connections.
fn raise_descriptor_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("raise the limit of open files")
}

/// Tells the person who waits; stdout is the table's.
fn tell(line: &str) {
    // Nobody reads it: then nobody waits either.
    let _gone = writeln!(std::io::stderr(), "{line}");
}
