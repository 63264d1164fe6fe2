//! Prometheus metrics of the certificates that the daemon obtains itself.

use std::time::UNIX_EPOCH;

use crate::net::DomainReport;
use crate::observe::exposition::{Exposition, Labels, MetricKind};

/// Writes how the attempts for each host have ended.
pub(in crate::http) fn domains(exposed: &mut Exposition, reports: &[DomainReport]) {
    let help = "Attempts to obtain a certificate from the ACME server, by their outcome.";
    let ends = reports.iter().flat_map(|report| {
        let labels = |end| Labels::of("domain", &report.domain).and("end", end);
        [(labels("issued"), report.issued), (labels("failed"), report.failed)]
    });
    exposed.family("portcullis_acme_attempts_total", MetricKind::Counter, help, ends);
    let help = "Failed attempts since the last one that succeeded.";
    let failing =
        reports.iter().map(|report| (Labels::of("domain", &report.domain), u64::from(report.failures)));
    exposed.family("portcullis_acme_failures", MetricKind::Gauge, help, failing);
    let help = "When the last attempt failed, in seconds since 1970; only while it is the last one.";
    let failed = reports.iter().filter_map(|report| {
        let since = report.error.as_ref()?.0.duration_since(UNIX_EPOCH).ok()?;
        Some((Labels::of("domain", &report.domain), since.as_secs_f64()))
    });
    exposed.family("portcullis_acme_last_failure_timestamp_seconds", MetricKind::Gauge, help, failed);
}
