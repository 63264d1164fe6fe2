//! Prometheus metrics of the handler versions, the connections and the process, as text.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use super::exposition::{family, float, label, only};
use crate::catalog::Alive;
use crate::engine::{Budgets, Engine};
use crate::http::limits::connections::{ConnectionCounts, ConnectionLimit};
use crate::http::limits::handshakes::Handshakes;
use crate::http::limits::refusal_counts::RefusalCounts;
use crate::job::outbound::OutboundOutcome;
use crate::job::{Counts, Needs};
use crate::net::{GateState, Term};
use crate::observe::{build, log, resident, writes};
use crate::wasm::Allocation;

/// A metric family with a sample for each handler version.
struct MetricFamily {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    sample: fn(&Counts) -> f64,
}

/// The families with a sample for each version, including recently replaced ones. Counters start anew
/// with every version.
const VERSIONS: [MetricFamily; 7] = [
    MetricFamily {
        name: "portcullis_requests_total",
        kind: "counter",
        help: "Requests that have ended, and calls of other handlers.",
        sample: |counts| float(counts.record.requests.ended()),
    },
    MetricFamily {
        name: "portcullis_request_failures_total",
        kind: "counter",
        help: "Requests that the handler answered with a status of 500 or more, or failed at.",
        sample: |counts| float(counts.record.requests.failed()),
    },
    MetricFamily {
        name: "portcullis_request_seconds_total",
        kind: "counter",
        help: "Time from the heads of requests to the last bytes of their answers.",
        sample: |counts| counts.record.requests.time().as_secs_f64(),
    },
    MetricFamily {
        name: "portcullis_cpu_seconds_total",
        kind: "counter",
        help: "CPU time of jobs that have ended.",
        sample: |counts| counts.record.cpu().as_secs_f64(),
    },
    MetricFamily {
        name: "portcullis_stderr_dropped_lines_total",
        kind: "counter",
        help: "Lines on stderr that were not logged (limits.stderr, limits.stderr_rate).",
        sample: |counts| float(counts.record.unlogged()),
    },
    MetricFamily {
        name: "portcullis_jobs_running",
        kind: "gauge",
        help: "Jobs that run now.",
        sample: |counts| float(counts.taken().running),
    },
    MetricFamily {
        name: "portcullis_jobs_waiting",
        kind: "gauge",
        help: "Jobs that wait for a slot.",
        sample: |counts| float(counts.taken().waiting),
    },
];

/// The families for versions with a schedule.
const SCHEDULES: [MetricFamily; 4] = [
    MetricFamily {
        name: "portcullis_scheduled_runs_total",
        kind: "counter",
        help: "Scheduled runs that have ended; they do not count as requests.",
        sample: |counts| float(counts.record.runs.ended()),
    },
    MetricFamily {
        name: "portcullis_scheduled_run_failures_total",
        kind: "counter",
        help: "Scheduled runs that ended with a status other than 0, or did not finish.",
        sample: |counts| float(counts.record.runs.failed()),
    },
    MetricFamily {
        name: "portcullis_scheduled_run_seconds_total",
        kind: "counter",
        help: "Time that scheduled runs took.",
        sample: |counts| counts.record.runs.time().as_secs_f64(),
    },
    MetricFamily {
        name: "portcullis_schedule_missed_total",
        kind: "counter",
        help: "Scheduled runs that were missed.",
        sample: |counts| float(counts.record.missed()),
    },
];

/// The family for versions that serve.
const LIMIT: MetricFamily = MetricFamily {
    name: "portcullis_jobs_limit",
    kind: "gauge",
    help: "Jobs that may run at once (limits.concurrency).",
    sample: |counts| float(counts.limits.concurrency),
};

/// Counters by the labels of a sample, handler and version. The same version may have been loaded
/// several times with other settings, and two samples must not have the same labels.
type Rows<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a Counts>>;

/// Writes the samples of the handlers and of the engine.
pub(in crate::http) fn text(engine: &Engine, gate: GateState, refused: &RefusalCounts) -> String {
    let catalog = engine.live().pin();
    let mut text = String::new();
    let serving: Vec<Counts> = catalog.entries().map(|entry| Counts::of(entry)).collect();
    let former = engine.live().former();
    versions(&mut text, &rows(serving.iter().chain(&former)), &rows(&serving));
    let help =
        "Requests, and connections (flood, not_tls), refused without a handler, by the code of the reason.";
    let refused = refused.counts().into_iter().map(|(reason, count)| (label("reason", reason), float(count)));
    family(&mut text, "portcullis_refused_total", "counter", help, refused);
    let help = "What the daemon could not write: lines of the log, compiled modules, failed jobs.";
    let failures = writes::ALL.iter().map(|kind| (label("what", kind.what), float(kind.failures())));
    family(&mut text, "portcullis_write_failures_total", "counter", help, failures);
    let help = "Lines that were dropped because the log was read too slowly.";
    family(&mut text, "portcullis_log_dropped_lines_total", "counter", help, only(float(log::dropped())));
    let gauges: [(&str, &str, f64); 3] = [
        ("portcullis_generation", "The current generation.", float(catalog.generation)),
        ("portcullis_generations_alive", "Generations that are still in use.", float(Alive::count())),
        ("portcullis_jobs", "Running jobs, including the daemon's own.", float(engine.sightings().len())),
    ];
    for (name, help, value) in gauges {
        family(&mut text, name, "gauge", help, only(value));
    }
    let states = [GateState::Shut, GateState::Open, GateState::Draining];
    let states = states.map(|state| (label("state", state), if state == gate { 1.0 } else { 0.0 }));
    family(
        &mut text,
        "portcullis_gate",
        "gauge",
        "The state of the gate: 1 for the current state, 0 for the others.",
        states,
    );
    text
}

fn rows<'a>(counts: impl IntoIterator<Item = &'a Counts>) -> Rows<'a> {
    let mut rows = Rows::new();
    for counts in counts {
        rows.entry((counts.name.as_str(), counts.version.as_str())).or_default().push(counts);
    }
    rows
}

/// Writes the samples of each version. `serving` holds the versions that are not replaced.
fn versions(text: &mut String, all: &Rows<'_>, serving: &Rows<'_>) {
    let mut scheduled = all.clone();
    scheduled.values_mut().for_each(|counts| counts.retain(|counts| counts.is_scheduled));
    scheduled.retain(|_, counts| !counts.is_empty());
    let families = VERSIONS.iter().map(|family| (family, all));
    let families = families.chain(SCHEDULES.iter().map(|family| (family, &scheduled)));
    let families = families.chain([(&LIMIT, serving)]).filter(|(_, rows)| !rows.is_empty());
    for (MetricFamily { name, kind, help, sample }, rows) in families {
        let samples = rows.iter().map(|(version, counts)| {
            (labels(version, ""), counts.iter().map(|counts| sample(counts)).sum::<f64>())
        });
        family(text, name, kind, help, samples);
    }
    let failures = all.iter().flat_map(|(version, counts)| {
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        for (reason, count) in counts.iter().flat_map(|counts| counts.record.reasons()) {
            *reasons.entry(reason).or_default() += count;
        }
        let sample = |(reason, count)| (labels(version, &format!(",reason=\"{reason}\"")), float(count));
        reasons.into_iter().map(sample).collect::<Vec<_>>()
    });
    let help = "Jobs that failed, by the code of the reason.";
    family(text, "portcullis_failures_total", "counter", help, failures);
    calls(text, all);
}

/// Writes the use and the limits of the budgets that jobs share.
pub(in crate::http) fn budgets(text: &mut String, Budgets { places: _, memory, descriptors }: &Budgets) {
    let families = [
        ("portcullis_jobs_memory_bytes", "Memory that jobs hold.", memory, Needs::PAGE),
        ("portcullis_jobs_descriptors", "File descriptors that jobs hold.", descriptors, 1),
    ];
    for (name, help, budget, unit) in families {
        family(text, name, "gauge", help, only(float(budget.used() * unit)));
    }
    let limits = [
        (
            "portcullis_jobs_memory_limit_bytes",
            "Memory that jobs may hold (limits.total_memory).",
            memory,
            Needs::PAGE,
        ),
        ("portcullis_jobs_descriptors_limit", "File descriptors that jobs may hold.", descriptors, 1),
    ];
    for (name, help, budget, unit) in limits {
        if let Some(all) = budget.all() {
            family(text, name, "gauge", help, only(float(all * unit)));
        }
    }
}

/// Writes how the jobs of handlers get their memory.
pub(in crate::http) fn sandbox(text: &mut String, allocation: &Allocation) {
    let help = "How jobs get their memory, and what of it is reset for the next one.";
    let mode = allocation.mode();
    let modes = Allocation::MODES.map(|each| (label("memory", each), if each == mode { 1.0 } else { 0.0 }));
    family(text, "portcullis_sandbox", "gauge", help, modes);
}

/// Writes the counts of connections to the handlers.
pub(in crate::http) fn connections(text: &mut String, crowd: &ConnectionLimit) {
    let ConnectionCounts { open, most, refused, made_room, memory, memory_limit, shed } = crowd.census();
    let families = [
        ("portcullis_connections", "gauge", "Connections that are open.", open),
        ("portcullis_connections_limit", "gauge", "Connections that may be open (http.connections).", most),
        (
            "portcullis_connections_refused_total",
            "counter",
            "Connections closed at once: their address had its limit of busy ones (http.connections_per_peer).",
            refused,
        ),
        (
            "portcullis_connections_made_room_total",
            "counter",
            "Idle connections that were asked to leave for a new one.",
            made_room,
        ),
        (
            "portcullis_client_memory_bytes",
            "gauge",
            "Memory that connections hold for their clients, estimated.",
            memory,
        ),
        (
            "portcullis_connections_shed_total",
            "counter",
            "Connections closed because they held most of the memory of clients (http.client_memory).",
            shed,
        ),
    ];
    let limit = memory_limit.map(|bytes| {
        let help = "Memory that connections may hold for their clients (http.client_memory).";
        ("portcullis_client_memory_limit_bytes", "gauge", help, bytes)
    });
    for (name, kind, help, value) in families.into_iter().chain(limit) {
        family(text, name, kind, help, only(float(value)));
    }
}

/// Writes the metrics of this process, under the names that Prometheus uses.
pub(in crate::http) fn process(text: &mut String, engine: &Engine) {
    let commit = build::COMMIT.unwrap_or("unknown");
    let labels =
        format!("{{version=\"{}\",commit=\"{commit}\",wasmtime=\"{}\"}}", build::VERSION, build::WASMTIME);
    family(text, "portcullis_build_info", "gauge", "The version of the program.", [(labels, 1.0)]);
    let help = "When the process started, in seconds since 1970.";
    let since = engine.started().duration_since(UNIX_EPOCH).unwrap_or_default();
    family(text, "process_start_time_seconds", "gauge", help, only(since.as_secs_f64()));
    if let Some(bytes) = resident() {
        let help = "Memory of the process in RAM.";
        family(text, "process_resident_memory_bytes", "gauge", help, only(float(bytes)));
    }
}

/// Writes the outcomes of TLS handshakes, and how long certificates remain valid.
pub(in crate::http) fn encrypted(text: &mut String, handshakes: &Handshakes, terms: &[Term]) {
    let help = "TLS handshakes, by how they have ended.";
    let ends = handshakes.counts().map(|(end, count)| (label("end", end), float(count)));
    family(text, "portcullis_tls_handshakes_total", "counter", help, ends);
    let help = "TLS handshakes in progress (http.handshakes).";
    family(text, "portcullis_tls_handshakes", "gauge", help, only(float(handshakes.under_way())));
    let help = "Time until a certificate expires; negative after that.";
    let left = terms.iter().map(|term| {
        let file = term.file.display().to_string();
        let file = file.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        (label("file", file), term.left())
    });
    family(text, "portcullis_tls_certificate_seconds_left", "gauge", help, left);
}

/// Writes the outcomes of calls to other servers, for the handlers that made any.
fn calls(text: &mut String, rows: &Rows<'_>) {
    let outcomes = rows.iter().flat_map(|row| OutboundOutcome::ALL.map(|outcome| (row, outcome)));
    let samples = outcomes.filter_map(|((version, counts), outcome)| {
        let count: u64 = counts.iter().filter_map(|counts| Some(counts.tally.as_ref()?.of(outcome))).sum();
        (count > 0).then(|| (labels(version, &format!(",outcome=\"{outcome}\"")), float(count)))
    });
    let help = "Calls of jobs to other servers, by how they have ended.";
    family(text, "portcullis_outbound_calls_total", "counter", help, samples);
}

/// Makes the labels of a sample of a handler version. `more` follows them.
fn labels((handler, version): &(&str, &str), more: &str) -> String {
    // Names and versions hold no character that needs an escape.
    format!("{{handler=\"{handler}\",version=\"{version}\"{more}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_says_what_it_is_before_its_samples() {
        let mut text = text(&Engine::new(1), GateState::Open, &RefusalCounts::default());
        connections(&mut text, &ConnectionLimit::new(7, 2, 5 << 20));
        sandbox(&mut text, &Allocation::OnDemand("no room".to_owned()));
        process(&mut text, &Engine::new(1));
        let term = Term { file: "/a\"b".into(), until: 0 };
        encrypted(&mut text, &Handshakes::default(), &[term]);

        let mut known = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                known = rest.split(' ').next().unwrap();
            } else if !line.starts_with('#') {
                assert!(line.starts_with(known), "{line}");
            }
        }
        assert!(text.contains("portcullis_gate{state=\"open\"} 1\n"), "{text}");
        assert!(text.contains("portcullis_generation 0\n"), "{text}");
        assert!(text.contains("portcullis_sandbox{memory=\"pooled\"} 0\n"), "{text}");
        assert!(text.contains("portcullis_sandbox{memory=\"on_demand\"} 1\n"), "{text}");
        assert!(text.contains("portcullis_connections_limit 7\n"), "{text}");
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
    }
}
