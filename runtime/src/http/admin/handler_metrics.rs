//! Prometheus metrics of the handler versions.

use std::collections::BTreeMap;

use super::latency_metrics;
use super::version_rows::{Rows, labels, rows};
use crate::engine::Engine;
use crate::job::VersionCounts;
use crate::job::outbound::OutboundOutcome;
use crate::observe::exposition::{Exposition, MetricKind, SampleValue};

/// A metric family with a sample for each handler version.
struct MetricFamily {
    name: &'static str,
    kind: MetricKind,
    help: &'static str,
    sample: fn(&VersionCounts) -> SampleValue,
}

/// The families with a sample for each version, including recently replaced ones. Counters start anew
/// with every version.
const VERSIONS: [MetricFamily; 9] = [
    MetricFamily {
        name: "portcullis_requests_total",
        kind: MetricKind::Counter,
        help: "Requests that have ended, and calls of other handlers.",
        sample: |counts| counts.record.requests.ended().into(),
    },
    MetricFamily {
        name: "portcullis_request_failures_total",
        kind: MetricKind::Counter,
        help: "Requests that the handler answered with a status of 500 or more, or failed at.",
        sample: |counts| counts.record.requests.failed().into(),
    },
    MetricFamily {
        name: "portcullis_request_seconds_total",
        kind: MetricKind::Counter,
        help: "Deprecated: use portcullis_http_request_duration_seconds_sum.",
        sample: |counts| counts.record.requests.time().as_secs_f64().into(),
    },
    MetricFamily {
        name: "portcullis_http_request_body_bytes_total",
        kind: MetricKind::Counter,
        help: "Bytes of request bodies that have arrived.",
        sample: |counts| counts.record.received().into(),
    },
    MetricFamily {
        name: "portcullis_http_response_body_bytes_total",
        kind: MetricKind::Counter,
        help: "Bytes of response bodies that were handed to connections.",
        sample: |counts| counts.record.sent().into(),
    },
    MetricFamily {
        name: "portcullis_cpu_seconds_total",
        kind: MetricKind::Counter,
        help: "CPU time of jobs that have ended.",
        sample: |counts| counts.record.cpu().as_secs_f64().into(),
    },
    MetricFamily {
        name: "portcullis_stderr_dropped_lines_total",
        kind: MetricKind::Counter,
        help: "Lines on stderr that were not logged (limits.stderr, limits.stderr_rate).",
        sample: |counts| counts.record.unlogged().into(),
    },
    MetricFamily {
        name: "portcullis_jobs_running",
        kind: MetricKind::Gauge,
        help: "Jobs that run now.",
        sample: |counts| counts.taken().running.into(),
    },
    MetricFamily {
        name: "portcullis_jobs_waiting",
        kind: MetricKind::Gauge,
        help: "Jobs that wait for a slot.",
        sample: |counts| counts.taken().waiting.into(),
    },
];

/// The families for versions with a schedule.
const SCHEDULES: [MetricFamily; 4] = [
    MetricFamily {
        name: "portcullis_scheduled_runs_total",
        kind: MetricKind::Counter,
        help: "Scheduled runs that have ended; they do not count as requests.",
        sample: |counts| counts.record.runs.ended().into(),
    },
    MetricFamily {
        name: "portcullis_scheduled_run_failures_total",
        kind: MetricKind::Counter,
        help: "Scheduled runs that ended with a status other than 0, or did not finish.",
        sample: |counts| counts.record.runs.failed().into(),
    },
    MetricFamily {
        name: "portcullis_scheduled_run_seconds_total",
        kind: MetricKind::Counter,
        help: "Time that scheduled runs took.",
        sample: |counts| counts.record.runs.time().as_secs_f64().into(),
    },
    MetricFamily {
        name: "portcullis_schedule_missed_total",
        kind: MetricKind::Counter,
        help: "Scheduled runs that were missed.",
        sample: |counts| counts.record.missed().into(),
    },
];

/// The family for versions that serve.
const LIMIT: MetricFamily = MetricFamily {
    name: "portcullis_jobs_limit",
    kind: MetricKind::Gauge,
    help: "Jobs that may run at once (limits.concurrency).",
    sample: |counts| counts.limits.concurrency.into(),
};

/// Writes the samples of the versions that serve, and of those that were replaced recently.
pub(in crate::http) fn handlers(exposed: &mut Exposition, engine: &Engine) {
    let catalog = engine.live().pin();
    let serving: Vec<VersionCounts> = catalog.entries().map(|entry| VersionCounts::of(entry)).collect();
    let former = engine.live().former();
    let all = rows(serving.iter().chain(&former));
    versions(exposed, &all, &rows(&serving));
    latency_metrics::versions(exposed, &all);
    latency_metrics::routes(exposed, &all);
}

/// Writes the samples of each version. `serving` holds the versions that are not replaced.
fn versions(exposed: &mut Exposition, all: &Rows<'_>, serving: &Rows<'_>) {
    let mut scheduled = all.clone();
    scheduled.values_mut().for_each(|counts| counts.retain(|counts| counts.is_scheduled));
    scheduled.retain(|_, counts| !counts.is_empty());
    let families = VERSIONS.iter().map(|family| (family, all));
    let families = families.chain(SCHEDULES.iter().map(|family| (family, &scheduled)));
    let families = families.chain([(&LIMIT, serving)]).filter(|(_, rows)| !rows.is_empty());
    for (MetricFamily { name, kind, help, sample }, rows) in families {
        let samples = rows.iter().map(|(version, counts)| {
            (labels(version), counts.iter().map(|counts| sample(counts)).sum::<SampleValue>())
        });
        exposed.family(name, *kind, help, samples);
    }
    let failures = all.iter().flat_map(|(version, counts)| {
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        for (reason, count) in counts.iter().flat_map(|counts| counts.record.reasons()) {
            *reasons.entry(reason).or_default() += count;
        }
        let sample = |(reason, count)| (labels(version).and("reason", reason), count);
        reasons.into_iter().map(sample).collect::<Vec<_>>()
    });
    let help = "Jobs that failed, by the code of the reason.";
    exposed.family("portcullis_failures_total", MetricKind::Counter, help, failures);
    calls(exposed, all);
}

/// Writes the outcomes of calls to other servers, for the handlers that made any.
fn calls(exposed: &mut Exposition, rows: &Rows<'_>) {
    let outcomes = rows.iter().flat_map(|row| OutboundOutcome::ALL.map(|outcome| (row, outcome)));
    let samples = outcomes.filter_map(|((version, counts), outcome)| {
        let count: u64 = counts.iter().filter_map(|counts| Some(counts.tally.as_ref()?.of(outcome))).sum();
        (count > 0).then(|| (labels(version).and("outcome", outcome), count))
    });
    let help = "Calls of jobs to other servers, by how they have ended.";
    exposed.family("portcullis_outbound_calls_total", MetricKind::Counter, help, samples);
}
