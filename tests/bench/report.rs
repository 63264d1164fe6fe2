//! Turns observations into the tables that the README quotes.

use std::fmt;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::options::Options;
use crate::rows::Row;
use crate::{AT_ONCE, STREAMS};

/// The observations of a row in a round.
pub(crate) struct Observed {
    /// The latencies of the responses.
    pub(crate) latencies: Vec<Duration>,
    /// How long the measurement took.
    pub(crate) elapsed: Duration,
    /// The server's CPU time.
    pub(crate) server_cpu: Duration,
    /// The client's CPU time.
    pub(crate) client_cpu: Duration,
    /// The CPU time of the whole machine, including server and client.
    pub(crate) all_cpu: Duration,
    /// The server's peak memory, in bytes.
    pub(crate) peak: u64,
}

/// The columns of one row.
#[derive(Clone, Copy)]
pub(crate) struct Measurement {
    /// Requests per second.
    rate: f64,
    p50_us: f64,
    p99_us: f64,
    server_us: f64,
    client_us: f64,
    peak_mib: f64,
    /// Processors used by other programs, which disturb a measurement.
    others: f64,
}

/// All measurements of all rows.
pub(crate) struct Table<'a> {
    lines: Vec<(&'a Row, Vec<Measurement>)>,
}

impl Measurement {
    pub(crate) fn new(mut observed: Observed) -> Measurement {
        observed.latencies.sort_unstable();
        let count = observed.latencies.len().max(1);
        let percentile = |percent: usize| {
            let latency = observed.latencies.get(count * percent / 100).copied().unwrap_or_default();
            latency.as_secs_f64() * 1e6
        };
        let each_us = |cpu: Duration| cpu.as_secs_f64() * 1e6 / count as f64;
        let ours = observed.server_cpu + observed.client_cpu;
        let others = observed.all_cpu.saturating_sub(ours).as_secs_f64() / observed.elapsed.as_secs_f64();
        Measurement {
            others,
            rate: observed.latencies.len() as f64 / observed.elapsed.as_secs_f64(),
            p50_us: percentile(50),
            p99_us: percentile(99),
            server_us: each_us(observed.server_cpu),
            client_us: each_us(observed.client_cpu),
            peak_mib: observed.peak as f64 / f64::from(1 << 20),
        }
    }

    /// Formats the cells of a row after its title.
    fn cells(&self, ratio: f64) -> String {
        let Measurement { rate, p50_us, p99_us, server_us, peak_mib, .. } = self;
        format!(
            "{} | {ratio:.2} | {p50_us:.0} µs | {p99_us:.0} µs | {server_us:.1} µs | {peak_mib:.0} MiB |",
            grouped(*rate)
        )
    }

    /// Takes the median of each column.
    fn median(all: &[Measurement]) -> Measurement {
        let median = |column: fn(&Measurement) -> f64| median(all.iter().map(column).collect());
        Measurement {
            rate: median(|one| one.rate),
            p50_us: median(|one| one.p50_us),
            p99_us: median(|one| one.p99_us),
            server_us: median(|one| one.server_us),
            client_us: median(|one| one.client_us),
            peak_mib: median(|one| one.peak_mib),
            others: median(|one| one.others),
        }
    }
}

impl Table<'_> {
    pub(crate) fn new(rows: &[Row]) -> Table<'_> {
        Table { lines: rows.iter().map(|row| (row, Vec::new())).collect() }
    }

    /// Adds a measurement of the row with this index.
    pub(crate) fn add(&mut self, row: usize, measurement: Measurement) {
        self.lines[row].1.push(measurement);
    }

    /// Returns how many processors other programs used, in the most disturbed round.
    fn disturbance(&self) -> f64 {
        self.lines.iter().flat_map(|(_, rounds)| rounds).map(|one| one.others).fold(0.0, f64::max)
    }

    /// Returns the ratio of a row to another, compared round by round, because the machine's state changes between
    /// rounds.
    fn ratio(&self, against: &str, rounds: &[Measurement]) -> f64 {
        let other = self.lines.iter().find(|(row, _)| row.name == against);
        let pairs = other.into_iter().flat_map(|(_, other)| rounds.iter().zip(other));
        median(pairs.map(|(one, other)| one.rate / other.rate).collect())
    }

    /// Formats what features cost: the server's CPU time a request beyond that of the row without the feature, compared
    /// round by round. Empty without such rows.
    pub(crate) fn costs(&self) -> String {
        let mut text = String::new();
        for (row, rounds) in &self.lines {
            let base = self.lines.iter().find(|(base, _)| row.beside == Some(base.name));
            let Some((base, other)) = base else { continue };
            let pairs = || rounds.iter().zip(other);
            let more = median(pairs().map(|(one, other)| one.server_us - other.server_us).collect());
            let part = median(pairs().map(|(one, other)| one.server_us / other.server_us - 1.0).collect());
            if text.is_empty() {
                text += "\n| cost of | beside | server CPU a request | of that |\n|---|---|--:|--:|\n";
            }
            text += &format!("| {} | {} | {more:+.2} µs | {:+.1} % |\n", row.title, base.title, part * 100.0);
        }
        text
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = self.lines.chunk_by(|(one, _), (next, _)| one.over == next.over);
        for (number, lines) in groups.enumerate() {
            // In Markdown, an empty line ends a table.
            let apart = if number > 0 { "\n" } else { "" };
            let title = lines.first().map_or("", |(row, _)| row.over.title());
            writeln!(
                f,
                "{apart}| {title} | requests/s | of bare hyper | p50 | p99 | server CPU a request | peak memory |"
            )?;
            writeln!(f, "|---|--:|--:|--:|--:|--:|--:|")?;
            for (row, rounds) in lines {
                let ratio = self.ratio(row.against, rounds);
                writeln!(f, "| {} | {}", row.title, Measurement::median(rounds).cells(ratio))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Measurement { rate, p50_us, p99_us, server_us, client_us, peak_mib, others } = self;
        write!(f, "{} requests/s, p50 {p50_us:.0} µs, p99 {p99_us:.0} µs, ", grouped(*rate))?;
        write!(f, "CPU {server_us:.1} µs (client {client_us:.1} µs), {peak_mib:.0} MiB, others {others:.2}")
    }
}

/// Describes the machine and the measurement. Figures quoted without it are meaningless.
///
/// # Errors
/// The kernel does not report its version or the processors.
pub(crate) fn circumstances(options: &Options, table: &Table<'_>) -> Result<String> {
    let cores = std::thread::available_parallelism().context("count the processors")?;
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel's version")?;
    Ok(format!(
        "\"Of bare hyper\" is of the first row of a table, or of the row of bare hyper just above: the same request in the \
         same way to a server that does nothing else, in the same round. {cores} cores ({model}), which the client shares, \
         Linux {}, loopback, {AT_ONCE} requests at a time unless a row says otherwise, on HTTP/2 {STREAMS} of them on a connection; {} rounds of {:?}, \
         medians. A fresh sandbox for every request, except where a row says otherwise. At worst, {:.2} cores were busy \
         with something else.",
        kernel.trim(),
        options.rounds,
        options.seconds,
        table.disturbance(),
    ))
}

/// Returns the middle value, or the mean of the two middle values. Returns NaN for no values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let upper = values.len() / 2;
    let lower = values.len().saturating_sub(1) / 2;
    values.get(lower..=upper).map_or(f64::NAN, |middle| middle.iter().sum::<f64>() / middle.len() as f64)
}

/// Formats a number in groups of three digits.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
