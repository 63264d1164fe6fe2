//! The command line of the benchmark.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::baseline::Tongue;

/// Measures a request to each kind of handler against the same request to a bare hyper server.
///
/// Tells on stderr what it does and prints the tables to stdout when it is done. All rows take
/// (SECONDS + 3) x ROUNDS seconds each; the machine should have nothing else to do.
#[derive(Parser)]
#[command(override_usage = "cargo bench --bench http -- [OPTIONS]")]
pub(crate) struct Options {
    /// How long each row is measured in a round, after a second to warm up.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// How often each row is measured; the median of the rounds is shown.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,
    /// Measure this row only, and the bare server it is compared to; `stores` is the table of stores, whose files are in
    /// TMPDIR. May be repeated; an unknown NAME lists all.
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// The `wasmtime` whose `serve` is measured beside. Default: the one on PATH; without one, these rows are left out.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) wasmtime: Option<PathBuf>,
    /// Be the bare server: what the benchmark starts itself as.
    #[arg(long, hide = true)]
    pub(crate) baseline_server: Option<Tongue>,
    /// Serve over TLS with the certificate in this directory.
    #[arg(long, hide = true)]
    pub(crate) certificate: Option<PathBuf>,
    /// Measure: `cargo bench` passes this, `cargo test --all-targets` does not.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "wanted seconds from 0.1 to 3600".to_owned())
}
