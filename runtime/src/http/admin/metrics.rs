//! Prometheus metrics of the engine, the connections and the process.

use std::time::UNIX_EPOCH;

use crate::catalog::Alive;
use crate::engine::{Budgets, Engine};
use crate::http::limits::connections::{ConnectionCounts, ConnectionLimit};
use crate::http::limits::handshakes::Handshakes;
use crate::http::limits::refusal_counts::RefusalCounts;
use crate::job::Needs;
use crate::net::{GateState, Term};
use crate::observe::exposition::{Exposition, Labels, MetricKind};
use crate::observe::{build_versions, log, resident, write_failures};
use crate::wasm::Allocation;

/// Writes the samples of the engine and of the gate.
pub(in crate::http) fn engine(
    exposed: &mut Exposition,
    engine: &Engine,
    gate: GateState,
    refused: &RefusalCounts,
) {
    let help =
        "Requests, and connections (flood, not_tls), refused without a handler, by the code of the reason.";
    let refused = refused.counts().into_iter().map(|(reason, count)| (Labels::of("reason", reason), count));
    exposed.family("portcullis_refused_total", MetricKind::Counter, help, refused);
    let help = "What the daemon could not write: lines of the log, compiled modules, failed jobs.";
    let failures = write_failures::ALL.iter().map(|kind| (Labels::of("what", kind.what), kind.failures()));
    exposed.family("portcullis_write_failures_total", MetricKind::Counter, help, failures);
    let help = "Lines that were dropped because the log was read too slowly.";
    exposed.single("portcullis_log_dropped_lines_total", MetricKind::Counter, help, log::dropped());
    let gauges: [(&str, &str, u64); 3] = [
        ("portcullis_generation", "The current generation.", engine.live().pin().generation),
        ("portcullis_generations_alive", "Generations that are still in use.", Alive::count() as u64),
        ("portcullis_jobs", "Running jobs, including the daemon's own.", engine.snapshots().len() as u64),
    ];
    for (name, help, value) in gauges {
        exposed.single(name, MetricKind::Gauge, help, value);
    }
    let states = [GateState::Shut, GateState::Open, GateState::Draining];
    let states = states.map(|state| (Labels::of("state", state), state == gate));
    let help = "The state of the gate: 1 for the current state, 0 for the others.";
    exposed.family("portcullis_gate", MetricKind::Gauge, help, states);
}

/// Writes the use and the limits of the budgets that jobs share.
pub(in crate::http) fn budgets(exposed: &mut Exposition, Budgets { places, memory, descriptors }: &Budgets) {
    let families = [
        ("portcullis_jobs_memory_bytes", "Memory that jobs hold.", memory, Needs::PAGE),
        ("portcullis_jobs_descriptors", "File descriptors that jobs and static files hold.", descriptors, 1),
        ("portcullis_instances", "Instances that run a job or are idle.", places, 1),
    ];
    for (name, help, budget, unit) in families {
        exposed.single(name, MetricKind::Gauge, help, budget.used() * unit);
    }
    let limits = [
        (
            "portcullis_jobs_memory_limit_bytes",
            "Memory that jobs may hold (limits.total_memory).",
            memory,
            Needs::PAGE,
        ),
        (
            "portcullis_jobs_descriptors_limit",
            "File descriptors that jobs and static files may hold.",
            descriptors,
            1,
        ),
        ("portcullis_instances_limit", "Instances that there may be (jobs).", places, 1),
    ];
    for (name, help, budget, unit) in limits {
        if let Some(all) = budget.all() {
            exposed.single(name, MetricKind::Gauge, help, all * unit);
        }
    }
}

/// Writes how the jobs of handlers get their memory.
pub(in crate::http) fn sandbox(exposed: &mut Exposition, allocation: &Allocation) {
    let help = "How jobs get their memory, and what of it is reset for the next one.";
    let mode = allocation.mode();
    let modes = Allocation::MODES.map(|each| (Labels::of("memory", each), each == mode));
    exposed.family("portcullis_sandbox", MetricKind::Gauge, help, modes);
}

/// Writes the counts of connections to the handlers.
pub(in crate::http) fn connections(exposed: &mut Exposition, clients: &ConnectionLimit) {
    let ConnectionCounts { open, max, refused, made_room, memory, memory_limit, shed } = clients.counts();
    let families = [
        ("portcullis_connections", MetricKind::Gauge, "Connections that are open.", open),
        (
            "portcullis_connections_limit",
            MetricKind::Gauge,
            "Connections that may be open (http.connections).",
            max,
        ),
        (
            "portcullis_connections_refused_total",
            MetricKind::Counter,
            "Connections closed at once: their address had its limit of busy ones (http.connections_per_peer).",
            refused,
        ),
        (
            "portcullis_connections_made_room_total",
            MetricKind::Counter,
            "Idle connections that were asked to leave for a new one.",
            made_room,
        ),
        (
            "portcullis_client_memory_bytes",
            MetricKind::Gauge,
            "Memory that connections hold for their clients, estimated.",
            memory,
        ),
        (
            "portcullis_connections_shed_total",
            MetricKind::Counter,
            "Connections closed because they held most of the memory of clients (http.client_memory).",
            shed,
        ),
    ];
    let limit = memory_limit.map(|bytes| {
        let help = "Memory that connections may hold for their clients (http.client_memory).";
        ("portcullis_client_memory_limit_bytes", MetricKind::Gauge, help, bytes)
    });
    for (name, kind, help, value) in families.into_iter().chain(limit) {
        exposed.single(name, kind, help, value);
    }
}

/// Writes the metrics of this process, under the names that Prometheus uses.
pub(in crate::http) fn process(exposed: &mut Exposition, engine: &Engine) {
    let commit = build_versions::COMMIT.unwrap_or("unknown");
    let labels = Labels::of("version", build_versions::VERSION)
        .and("commit", commit)
        .and("wasmtime", build_versions::WASMTIME);
    let help = "The version of the program.";
    exposed.family("portcullis_build_info", MetricKind::Gauge, help, [(labels, true)]);
    let help = "When the process started, in seconds since 1970.";
    let since = engine.started().duration_since(UNIX_EPOCH).unwrap_or_default();
    exposed.single("process_start_time_seconds", MetricKind::Gauge, help, since.as_secs_f64());
    if let Some(bytes) = resident() {
        let help = "Memory of the process in RAM.";
        exposed.single("process_resident_memory_bytes", MetricKind::Gauge, help, bytes);
    }
}

/// Writes the outcomes of TLS handshakes, and how long certificates remain valid.
pub(in crate::http) fn encrypted(exposed: &mut Exposition, handshakes: &Handshakes, terms: &[Term]) {
    let help = "TLS handshakes, by how they have ended.";
    let ends = handshakes.counts().map(|(end, count)| (Labels::of("end", end), count));
    exposed.family("portcullis_tls_handshakes_total", MetricKind::Counter, help, ends);
    let help = "TLS handshakes in progress (http.handshakes).";
    let under_way = handshakes.under_way();
    exposed.single("portcullis_tls_handshakes_in_progress", MetricKind::Gauge, help, under_way);
    let help = "Deprecated: use portcullis_tls_handshakes_in_progress.";
    exposed.single("portcullis_tls_handshakes", MetricKind::Gauge, help, under_way);
    // In OpenMetrics, this is the name of the counter above.
    exposed.leave_out_of_openmetrics();
    let help = "Time until a certificate expires; negative after that.";
    let left = terms.iter().map(|term| (Labels::of("file", term.file.display()), term.left()));
    exposed.family("portcullis_tls_certificate_seconds_left", MetricKind::Gauge, help, left);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::exposition::ExpositionFormat;

    #[test]
    fn every_family_says_what_it_is_before_its_samples() {
        let mut text = Exposition::default();
        engine(&mut text, &Engine::new(1), GateState::Open, &RefusalCounts::default());
        connections(&mut text, &ConnectionLimit::new(7, 2, 5 << 20));
        sandbox(&mut text, &Allocation::OnDemand("no room".to_owned()));
        process(&mut text, &Engine::new(1));
        let term = Term { file: "/a\"b".into(), until: 0 };
        encrypted(&mut text, &Handshakes::default(), &[term]);
        let text = String::from_utf8(ExpositionFormat::Text.encode(text)).unwrap();

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
        // A name that is on its way out says which one replaces it.
        let replaced =
            "# HELP portcullis_tls_handshakes Deprecated: use portcullis_tls_handshakes_in_progress.";
        assert!(text.contains(replaced), "{text}");
    }
}
