//! Converts entries of the history into the reports of the admin API.

use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};

use super::api::{EndedJobReport, NestedJobReport, OutboundCallReport, RequestReport, RunReport};
use crate::job::{JobId, Peaks};
use crate::observe::history::{CallSummary, HistoryEntry, JobSummary, RequestSummary, VersionLabel};

/// Describes an ended job, without the jobs that it called.
pub(super) fn report(entry: &HistoryEntry) -> EndedJobReport {
    let HistoryEntry { id, parent, trace, version, ended, job, request } = entry;
    let label = |text: fn(&VersionLabel) -> &String| version.as_deref().map(|label| text(label).clone());
    let (total, began) = (entry.total(), entry.began());
    let failure = entry.failure();
    EndedJobReport {
        id: id.map(name),
        parent: parent.map(name),
        trace_id: trace.map(|trace| trace.to_string()),
        handler: label(|label| &label.handler),
        version: label(|label| &label.version),
        kind: label(|label| &label.kind),
        began: DateTime::<Utc>::from(*ended - total).to_rfc3339_opts(SecondsFormat::Millis, true),
        total_ms: ms(total),
        outcome: entry.outcome().into_owned(),
        message: failure.map(|failure| failure.message.clone()),
        stack: failure.map(|failure| failure.stack.clone()).unwrap_or_default(),
        request: began.zip(request.as_ref()).map(|(began, request)| of_request(request, began)),
        run: began.zip(job.as_ref()).map(|(began, job)| of_run(job, began)),
        jobs: Vec::new(),
        replay: None,
    }
}

/// Describes a job that another job called, which began at `began`.
pub(super) fn nested(entry: &HistoryEntry, began: Instant) -> Option<NestedJobReport> {
    Some(NestedJobReport {
        id: entry.id.map(name)?,
        handler: entry.version.as_ref()?.handler.clone(),
        started_ms: since(began, entry.began()?),
        time_ms: ms(entry.total()),
        outcome: entry.outcome().into_owned(),
    })
}

fn of_request(request: &RequestSummary, began: Instant) -> RequestReport {
    RequestReport {
        method: request.method.to_string(),
        path: request.path.clone(),
        route: request.route.as_deref().map(str::to_owned),
        client: request.client.map(|client| client.to_string()),
        status: request.status,
        first_byte_ms: request.head_sent.map(|sent| since(began, sent)),
        ended_ms: since(began, request.ended),
        sent: request.sent,
        complete: request.is_complete,
    }
}

fn of_run(job: &JobSummary, began: Instant) -> RunReport {
    let percent = |share: u32| f64::from(share) / 10.0;
    let call = |call: &CallSummary| OutboundCallReport {
        started_ms: since(began, call.started),
        time_ms: ms(call.time),
        origin: call.origin.clone(),
        outcome: call.outcome.to_owned(),
    };
    RunReport {
        started_ms: job.started.map(|started| since(began, started)),
        ended_ms: since(began, job.ended),
        queue_ms: ms(job.parts.queue),
        instantiate_ms: job.parts.instantiate.map(ms),
        guest_ms: job.parts.guest.map(ms),
        cpu_ms: ms(job.cpu),
        memory: job.memory,
        read: job.read,
        written: job.written,
        status: job.status,
        limits: Peaks::NAMES.into_iter().zip(job.used.map(percent)).collect(),
        stderr: job.stderr().to_owned(),
        calls: job.calls().iter().map(call).collect(),
    }
}

fn name(id: u64) -> String {
    JobId(id).to_string()
}

fn since(began: Instant, moment: Instant) -> f64 {
    ms(moment.saturating_duration_since(began))
}

/// Converts a duration to milliseconds, to the microsecond.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1000.0
}
