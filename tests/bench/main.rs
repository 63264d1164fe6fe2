//! `cargo bench --bench http`: what a request to a sandboxed handler costs, beside the same request to a bare hyper server.
//!
//! Each row is measured in processes of its own, a server and this client, one row after the other
//! and all of them once a round: what disturbs the machine for a while disturbs every row.

mod baseline;
mod load;
mod options;
mod report;
mod response;
mod rows;
mod servers;
mod site;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use load::Client;
use options::Options;
use report::{Measurement, Table};
use rows::Row;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use servers::Server;
use site::Site;

/// The allocator of the daemon, for the bare server as well: the ratio must not tell allocators apart.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections that ask all the time, each for one thing at a time.
const CONNECTIONS: usize = 16;

/// How long a server runs under load before it is measured: pools fill, and processors speed up.
const WARM_UP: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options {
        Options { baseline_server: true, .. } => baseline::serve(),
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
    let rows = rows::chosen(&options.only)?;
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
    writeln!(stdout, "\n{}", report::circumstances(options, CONNECTIONS, &table)?).context("write the table")
}

/// Starts the server of a row, drives it for a while and ends it.
fn once(row: &Row, site: &Site, time: Duration) -> Result<Measurement> {
    let server = match row.config {
        None => Server::hyper()?,
        Some(config) => Server::daemon(&site.config(row.name, config)?)?,
    };
    let _idle = load::idle(server.address, row.idle)?;
    let mut client = Client::connect(server.address, &row.exchange, CONNECTIONS)?;
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
