//! Prometheus metrics of durations, by handler version and by route.

use std::collections::BTreeMap;

use super::version_rows::{Rows, labels};
use crate::job::{HandlerLatencies, OTHER, OTHER_LATENCIES, OTHER_ROUTES, RouteStats};
use crate::observe::exposition::{Exposition, Labels, MetricKind};
use crate::observe::latency::{Histograms, LatencyHistogram, LatencySnapshot};

/// A distribution of each handler version.
struct LatencyFamily {
    name: &'static str,
    help: &'static str,
    of: fn(&HandlerLatencies) -> &LatencyHistogram,
}

const LATENCIES: [LatencyFamily; 4] = [
    LatencyFamily {
        name: "portcullis_job_queue_duration_seconds",
        help: "Time for which jobs waited for a slot.",
        of: |latencies| &latencies.queue,
    },
    LatencyFamily {
        name: "portcullis_job_instantiate_duration_seconds",
        help: "Time from the slot to the first instruction of the entry point.",
        of: |latencies| &latencies.instantiate,
    },
    LatencyFamily {
        name: "portcullis_job_guest_duration_seconds",
        help: "Time for which guests ran, waits for their clients included.",
        of: |latencies| &latencies.guest,
    },
    LatencyFamily {
        name: "portcullis_http_response_send_duration_seconds",
        help: "Time from the end of a job to the last byte of its response.",
        of: |latencies| &latencies.send,
    },
];

/// Writes the distributions of the versions, and those of all versions beyond the limit.
pub(in crate::http) fn versions(exposed: &mut Exposition, rows: &Rows<'_>) {
    if Histograms::current() == Histograms::Off {
        return;
    }
    for LatencyFamily { name, help, of } in LATENCIES {
        let own = rows.iter().filter_map(|(version, counts)| {
            let own = counts.iter().filter_map(|counts| counts.record.own_latencies());
            let snapshot = own.map(|latencies| of(latencies).snapshot()).reduce(merged)?;
            Some((labels(version), snapshot))
        });
        let other = of(&OTHER_LATENCIES).snapshot();
        let other = (other.count() > 0).then(|| (labels(&(OTHER, OTHER)), other));
        exposed.family(name, MetricKind::Histogram, help, own.chain(other));
    }
}

/// Writes the requests by route, and those of all routes beyond the limit.
pub(in crate::http) fn routes(exposed: &mut Exposition, rows: &Rows<'_>) {
    let (mut classes, mut durations) = (BTreeMap::new(), BTreeMap::new());
    let own = rows.iter().flat_map(|(version, counts)| {
        counts.iter().flat_map(move |counts| counts.record.routes.iter().map(move |route| (*version, route)))
    });
    for ((handler, version), route) in own.chain([((OTHER, OTHER), &OTHER_ROUTES)]) {
        let key = (handler, version, RouteStats::route(route));
        for (class, count) in route.classes() {
            *classes.entry((key, class)).or_insert(0_u64) += count;
        }
        let snapshot = route.durations();
        if snapshot.count() > 0 && Histograms::current() == Histograms::On {
            durations.entry(key).or_insert_with(LatencySnapshot::default).merge(&snapshot);
        }
    }
    let labels = |(handler, version, route): (&str, &str, &str)| -> Labels {
        labels(&(handler, version)).and("route", route)
    };
    let help = "Requests that have ended, by the class of their status; none: the client left before it.";
    let classes = classes.into_iter().map(|((key, class), count)| (labels(key).and("code", class), count));
    exposed.family("portcullis_http_requests_total", MetricKind::Counter, help, classes);
    let help = "Time from the heads of requests to the last bytes of their responses.";
    let durations = durations.into_iter().map(|(key, snapshot)| (labels(key), snapshot));
    exposed.family("portcullis_http_request_duration_seconds", MetricKind::Histogram, help, durations);
}

fn merged(mut one: LatencySnapshot, other: LatencySnapshot) -> LatencySnapshot {
    one.merge(&other);
    one
}
