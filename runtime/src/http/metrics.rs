//! What Prometheus scrapes: the counters of the catalog that is live, as text.

use std::fmt::{Display, Write as _};
use std::sync::Arc;

use super::handshakes::Handshakes;
use super::refused::Refused;
use crate::catalog::Alive;
use crate::engine::Engine;
use crate::job::outbound::Outcome;
use crate::job::{Entry, Limits};
use crate::net::{GateState, Term};
use crate::observe::{log, writes};

/// The text-based exposition format, version 0.0.4.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A family of samples, one for each handler.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    sample: fn(&Entry) -> f64,
}

/// The families that have a sample for each handler. Counters start anew with every version.
const HANDLERS: [Family; 9] = [
    Family {
        name: "portcullis_requests_total",
        kind: "counter",
        help: "Requests that have ended.",
        sample: |entry| float(entry.record.ended()),
    },
    Family {
        name: "portcullis_request_failures_total",
        kind: "counter",
        help: "Requests that the handler answered with a status of 500 or more, or failed at.",
        sample: |entry| float(entry.record.failed()),
    },
    Family {
        name: "portcullis_request_seconds_total",
        kind: "counter",
        help: "Time from the heads of requests to the last bytes of their answers.",
        sample: |entry| entry.record.time().as_secs_f64(),
    },
    Family {
        name: "portcullis_cpu_seconds_total",
        kind: "counter",
        help: "Time on a processor of jobs that have ended.",
        sample: |entry| entry.record.cpu().as_secs_f64(),
    },
    Family {
        name: "portcullis_stderr_dropped_lines_total",
        kind: "counter",
        help: "Lines on stderr that were not logged (limits.stderr, limits.stderr_rate).",
        sample: |entry| float(entry.record.unlogged()),
    },
    Family {
        name: "portcullis_schedule_missed_total",
        kind: "counter",
        help: "Scheduled runs that did not come about.",
        sample: |entry| float(entry.record.missed()),
    },
    Family {
        name: "portcullis_jobs_running",
        kind: "gauge",
        help: "Jobs that run now.",
        sample: |entry| float(entry.slots.taken(&entry.limits).running),
    },
    Family {
        name: "portcullis_jobs_waiting",
        kind: "gauge",
        help: "Jobs that wait for a slot.",
        sample: |entry| float(entry.slots.taken(&entry.limits).waiting),
    },
    Family {
        name: "portcullis_jobs_limit",
        kind: "gauge",
        help: "Jobs that may run at once (limits.concurrency).",
        sample: |Entry { limits: Limits { concurrency, .. }, .. }| float(*concurrency),
    },
];

/// Writes every sample.
pub(super) fn text(engine: &Engine, gate: GateState, refused: &Refused) -> String {
    let catalog = engine.live().pin();
    let mut text = String::new();
    let trials = catalog.canaries.values().map(|canary| &canary.entry);
    let handlers: Vec<&Arc<Entry>> = catalog.handlers.values().chain(trials).collect();
    for Family { name, kind, help, sample } in HANDLERS {
        head(&mut text, name, kind, help);
        for entry in &handlers {
            // Names and versions hold nothing that would have to be escaped.
            let labels = format!("{{handler=\"{}\",version=\"{}\"}}", entry.name, entry.version);
            line(&mut text, name, &labels, sample(entry));
        }
    }
    let name = "portcullis_failures_total";
    head(&mut text, name, "counter", "Jobs that failed, by the code of the reason.");
    for Entry { name: handler, version, record, .. } in handlers.iter().map(|entry| &***entry) {
        for (reason, count) in record.reasons() {
            let labels = format!("{{handler=\"{handler}\",version=\"{version}\",reason=\"{reason}\"}}");
            line(&mut text, name, &labels, float(count));
        }
    }
    let name = "portcullis_refused_total";
    head(
        &mut text,
        name,
        "counter",
        "Requests, and connections (flood, not_tls), that no handler had a part in, by the code of the reason.",
    );
    for (reason, count) in refused.counts() {
        line(&mut text, name, &format!("{{reason=\"{reason}\"}}"), float(count));
    }
    calls(&mut text, &handlers);
    let name = "portcullis_write_failures_total";
    head(
        &mut text,
        name,
        "counter",
        "What the daemon could not write: lines of the log, compiled modules, failed jobs.",
    );
    for kind in writes::ALL {
        line(&mut text, name, &format!("{{what=\"{}\"}}", kind.what), float(kind.failures()));
    }
    let name = "portcullis_log_dropped_lines_total";
    head(&mut text, name, "counter", "Lines that were dropped because nobody read the log fast enough.");
    line(&mut text, name, "", float(log::dropped()));
    let gauges: [(&str, &str, f64); 3] = [
        ("portcullis_generation", "The generation that serves.", float(catalog.generation)),
        ("portcullis_generations_alive", "Generations that somebody holds.", float(Alive::count())),
        ("portcullis_jobs", "Jobs that run, the daemon's own among them.", float(engine.sightings().len())),
    ];
    for (name, help, value) in gauges {
        head(&mut text, name, "gauge", help);
        line(&mut text, name, "", value);
    }
    head(&mut text, "portcullis_gate", "gauge", "Where the gate stands.");
    for state in [GateState::Shut, GateState::Open, GateState::Draining] {
        let labels = format!("{{state=\"{state}\"}}");
        line(&mut text, "portcullis_gate", &labels, if state == gate { 1.0 } else { 0.0 });
    }
    text
}

/// Writes how TLS handshakes fare, and how long certificates are valid.
pub(super) fn encrypted(text: &mut String, handshakes: &Handshakes, terms: &[Term]) {
    let name = "portcullis_tls_handshakes_total";
    head(text, name, "counter", "TLS handshakes, by how they have ended.");
    for (end, count) in handshakes.counts() {
        line(text, name, &format!("{{end=\"{end}\"}}"), float(count));
    }
    let name = "portcullis_tls_handshakes";
    head(text, name, "gauge", "TLS handshakes that are under way (http.handshakes).");
    line(text, name, "", float(handshakes.under_way()));
    let name = "portcullis_tls_certificate_seconds_left";
    head(text, name, "gauge", "Time until a certificate ends; negative once it has.");
    for term in terms {
        let file = term.file.display().to_string();
        let file = file.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        line(text, name, &format!("{{file=\"{file}\"}}"), term.left());
    }
}

/// Writes how the calls to other servers have ended, of those handlers that have made any.
fn calls(text: &mut String, handlers: &[&Arc<Entry>]) {
    let name = "portcullis_outbound_calls_total";
    head(text, name, "counter", "Calls of jobs to other servers, by how they have ended.");
    for entry in handlers {
        let Some(outbound) = entry.handler.outbound() else { continue };
        for outcome in Outcome::ALL {
            let count = outbound.tally().of(outcome);
            if count > 0 {
                let Entry { name: handler, version, .. } = &***entry;
                let labels = format!("{{handler=\"{handler}\",version=\"{version}\",outcome=\"{outcome}\"}}");
                line(text, name, &labels, float(count));
            }
        }
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // A string takes everything.
    let _infallible = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(text: &mut String, name: &str, labels: &str, value: impl Display) {
    let _infallible = writeln!(text, "{name}{labels} {value}");
}

/// Turns a count into a sample, which is a float in this format.
#[expect(clippy::cast_precision_loss, reason = "a count above 2^53 is as good without its last digits")]
fn float(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_says_what_it_is_before_its_samples() {
        let mut text = text(&Engine::new(1), GateState::Open, &Refused::default());
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
    }
}
