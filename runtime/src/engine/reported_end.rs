//! How a job ended, for the log, the journal, the history and its trace.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::job::{AnswerProgress, Fault, HandlerVersion, Label, Status, StopReason, Tail, Usage};
use crate::observe::history::{
    FailureSummary, JobDetails, JobDurations, JobSummary, VersionHistory, VersionLabel,
};
use crate::observe::traces::{JobSpan, OpenSpan};

/// The most bytes of a job's stderr that the history keeps.
const STDERR: usize = 2 << 10;

/// How a job ended, as far as it is reported.
pub(super) enum ReportedEnd {
    /// The job was dropped before its end: its client or caller has left.
    Cancelled,
    /// The job succeeded, and is not reported.
    Unremarkable,
    /// The job succeeded; the text describes its status.
    Well(String),
    /// The job failed.
    Failed(Box<ReportedFailure>),
}

/// A failure, and the texts that describe it.
pub(super) struct ReportedFailure {
    status: Status,
    /// The status and the message, for the log and the journal.
    told: String,
    summary: FailureSummary,
}

/// What an end says.
pub(super) struct EndText<'a> {
    pub(super) told: &'a str,
    pub(super) failed: bool,
    /// The code of the failure. `None` if it is counted by the code that noted it.
    pub(super) code: Option<&'static str>,
}

/// What a job has used at its end.
pub(super) struct FinalUsage<'a> {
    pub(super) usage: &'a Usage,
    pub(super) stderr_tail: &'a Tail,
    pub(super) started: Instant,
    pub(super) ended: Instant,
    pub(super) parts: JobDurations,
    pub(super) written: u64,
    /// The used share of each limit, in thousandths.
    pub(super) shares: [u32; 6],
}

impl ReportedEnd {
    /// The end of a job that failed by itself.
    pub(super) fn exited(status: Status, answer: &AnswerProgress) -> ReportedEnd {
        let fault = Fault::Exited { status, last_line: answer.last_line().to_owned() };
        let summary = fault.summary(answer);
        ReportedEnd::Failed(Box::new(ReportedFailure { status, told: status.to_string(), summary }))
    }

    /// Describes the end of a job by a fault. The guest's own words count as stderr, so at most `limit` bytes are logged.
    pub(super) fn fault(fault: &Fault, answer: &AnswerProgress, limit: u64) -> ReportedEnd {
        let (status, summary, told) = (fault.status(), fault.summary(answer), fault.told(answer));
        let (whole, short) = (told.to_string(), told.without_words().to_string());
        let is_logged = whole.len().saturating_sub(short.len()) as u64 <= limit;
        let told = format!("{status}: {}", if is_logged { whole } else { short });
        ReportedEnd::Failed(Box::new(ReportedFailure { status, told, summary }))
    }

    /// Returns what the end says. `stopped` is the reason for which the job was told to stop.
    pub(super) fn text(&self, stopped: Option<StopReason>) -> EndText<'_> {
        let (told, failed, code) = match self {
            ReportedEnd::Unremarkable => ("", false, None),
            ReportedEnd::Cancelled => return cancelled(stopped),
            ReportedEnd::Well(end) => (end.as_str(), false, None),
            ReportedEnd::Failed(failure) => (failure.told.as_str(), true, Some(failure.summary.code)),
        };
        EndText { told, failed, code }
    }

    /// Adds the end to the history of the handler, if it is wanted there, and ends the span of the job.
    pub(super) fn report(
        self,
        entry: &HandlerVersion,
        label: Label,
        (stopped, span): (Option<StopReason>, Option<OpenSpan>),
        used: &FinalUsage<'_>,
    ) {
        let FinalUsage { usage, stderr_tail, started, ended, parts, written, shares } = *used;
        let history = wanted(entry, usage);
        if history.is_none() && span.is_none() {
            return;
        }
        let (status, failure) = match self {
            ReportedEnd::Failed(failure) => (failure.status, Some(failure.summary)),
            ReportedEnd::Cancelled => {
                let EndText { told, code, .. } = cancelled(stopped);
                let (message, stack) = (told.to_owned(), String::new());
                let failure = code.map(|code| FailureSummary { code, message, stack, is_own: false });
                (Status::STOPPED, failure)
            }
            ReportedEnd::Unremarkable | ReportedEnd::Well(_) => (Status::OK, None),
        };
        let summary = JobSummary {
            started: Some(started),
            ended,
            parts,
            cpu: usage.cpu(),
            memory: usage.memory(),
            read: usage.body(),
            written,
            used: shares,
            status: status.0,
            details: JobDetails::of(failure, stderr_tail.last_lines(STDERR), usage.ends.take_calls()),
        };
        conclude((entry, history), (label, usage), span, summary);
    }
}

/// Returns what the end of a job says that was dropped before its end.
fn cancelled(stopped: Option<StopReason>) -> EndText<'static> {
    let (told, failed, code) = match stopped {
        Some(StopReason::Answered) => ("answered", false, None),
        Some(StopReason::NoAnswer) => ("no answer", true, None),
        Some(
            reason @ (StopReason::TooSlow
            | StopReason::TakesNothing
            | StopReason::OutOfShare
            | StopReason::Memory),
        ) => ("cancelled", true, Some(reason.code())),
        // The reader of the response counts the panic.
        _ if thread::panicking() => ("the daemon panicked", true, None),
        Some(StopReason::Killed | StopReason::Shutdown) | None => ("cancelled", true, Some("cancelled")),
    };
    EndText { told, failed, code }
}

/// Returns the history of the handler if the end of the job is wanted there.
fn wanted<'e>(entry: &'e HandlerVersion, usage: &Usage) -> Option<&'e VersionHistory> {
    entry.history.as_ref().filter(|history| usage.ends.is_wanted(history))
}

/// Ends the span of the job, and adds the job to the history that wants it. Inlined, so that the summary is not moved.
#[inline]
fn conclude(
    (entry, history): (&HandlerVersion, Option<&VersionHistory>),
    (label, usage): (Label, &Usage),
    span: Option<OpenSpan>,
    summary: JobSummary,
) {
    if let Some(span) = span {
        end_span(entry, label, span, &summary);
    }
    if let Some(history) = history {
        usage.ends.job_ended(history, (label, usage.spans.trace_id()), summary);
    }
}

fn end_span(entry: &HandlerVersion, label: Label, span: OpenSpan, summary: &JobSummary) {
    let failure = summary.failure();
    let version = entry.history.as_ref().map_or_else(
        || {
            let (handler, version) = (entry.name.to_string(), entry.version.clone());
            Arc::new(VersionLabel { handler, version, kind: entry.kind.to_string() })
        },
        |history| history.label().clone(),
    );
    span.end_job(JobSpan {
        version,
        job: label.id.0,
        started: summary.started,
        ended: summary.ended,
        parts: summary.parts,
        cpu: summary.cpu,
        memory: summary.memory,
        status: summary.status,
        failure: failure.map(|failure| (failure.code, failure.message.clone())),
        is_own_failure: failure.is_some_and(|failure| failure.is_own),
    });
}

/// Adds a job that was refused a slot to the history of its handler, if it is wanted there, and ends its span.
pub(super) fn report_refused(
    entry: &HandlerVersion,
    label: Label,
    usage: &Usage,
    (fault, span): (&Fault, Option<OpenSpan>),
) {
    let history = wanted(entry, usage);
    if history.is_none() && span.is_none() {
        return;
    }
    let ended = Instant::now();
    let summary = JobSummary {
        started: None,
        ended,
        parts: usage.timing.durations(ended),
        cpu: Duration::ZERO,
        memory: 0,
        read: usage.body(),
        written: 0,
        used: [0; 6],
        status: fault.status().0,
        details: JobDetails::of(Some(fault.summary(&usage.answer)), String::new(), Vec::new()),
    };
    conclude((entry, history), (label, usage), span, summary);
}
