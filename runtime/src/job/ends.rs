//! The two ends of a job that answers a request: of its run and of its response, in either order.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::{AnswerProgress, Fault, Label, Owner, WORDS};
use crate::observe::brief;
use crate::observe::history::{
    CallSummary, FailureSummary, HistoryEntry, JobSummary, RequestSummary, VersionHistory,
};
use crate::observe::traces::TraceId;

/// The most outbound calls of a job that the history keeps.
const CALLS: usize = 32;

/// The most bytes of a guest's stack that the history keeps.
const STACK: usize = 4 << 10;

/// What names a job in the history: its label, and its trace if it is traced.
type TracedLabel = (Label, Option<TraceId>);

/// What has ended of a job. The later end adds the job to the history.
#[derive(Default, Debug)]
pub struct JobEnds {
    answers: AtomicBool,
    keeps_calls: AtomicBool,
    /// Whether there are outbound calls. Without any, a job that ends takes no lock for them.
    has_calls: AtomicBool,
    parts: Mutex<EndedParts>,
}

#[derive(Default, Debug)]
struct EndedParts {
    job: Option<JobSummary>,
    request: Option<RequestSummary>,
    calls: Vec<CallSummary>,
}

impl JobEnds {
    /// Records that the job answers a request whose end will be reported.
    pub fn answers_request(&self) {
        self.answers.store(true, Ordering::Release);
    }

    /// Records that the job answers no request after all. Adds the job to the history if it has ended.
    pub fn answers_nothing(&self, history: &VersionHistory, label: TracedLabel) {
        let mut parts = self.lock();
        self.answers.store(false, Ordering::Release);
        let Some(job) = parts.job.take() else { return };
        drop(parts);
        history.add(&mut ended_now(label, Some(job), None));
    }

    /// Reports whether the end of the job is wanted: somebody waits for it, or for its request.
    pub fn is_wanted(&self, history: &VersionHistory) -> bool {
        self.answers.load(Ordering::Acquire) || history.is_wanted()
    }

    /// Keeps the outbound calls that end from now on.
    pub fn keep_calls(&self) {
        self.keeps_calls.store(true, Ordering::Release);
    }

    /// Reports whether outbound calls are kept.
    pub fn keeps_calls(&self) -> bool {
        self.keeps_calls.load(Ordering::Acquire)
    }

    /// Keeps an outbound call that has ended, up to a limit.
    pub fn called(&self, call: CallSummary) {
        let mut parts = self.lock();
        self.has_calls.store(true, Ordering::Relaxed);
        if parts.calls.len() < CALLS {
            parts.calls.push(call);
        }
    }

    /// Returns the outbound calls so far.
    pub fn take_calls(&self) -> Vec<CallSummary> {
        if self.has_calls.load(Ordering::Relaxed) { mem::take(&mut self.lock().calls) } else { Vec::new() }
    }

    /// Reports the end of the run, or that it was refused. The label comes with the trace of the job.
    pub fn job_ended(&self, history: &VersionHistory, label: TracedLabel, job: JobSummary) {
        if !self.answers.load(Ordering::Acquire) {
            return history.add(&mut ended_now(label, Some(job), None));
        }
        let mut parts = self.lock();
        // Loaded again: `answers_nothing` may have come first.
        if parts.request.is_none() && self.answers.load(Ordering::Acquire) {
            parts.job = Some(job);
            return;
        }
        let mut entry = ended_now(label, Some(job), parts.request.take());
        drop(parts);
        history.add(&mut entry);
    }

    /// Reports the end of the response. `runs` tells whether the job has its slot, and so will report its own end. Inlined,
    /// so that its one caller moves the request into the entry.
    #[inline]
    pub fn request_ended(
        &self,
        history: &VersionHistory,
        label: TracedLabel,
        request: RequestSummary,
        runs: bool,
    ) {
        let mut parts = self.lock();
        if parts.job.is_none() && runs {
            parts.request = Some(request);
            return;
        }
        let mut entry = ended_now(label, parts.job.take(), Some(request));
        drop(parts);
        history.add(&mut entry);
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, EndedParts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fault {
    /// Describes this fault for the history, with how far the answer of the job had come.
    pub fn summary(&self, answer: &AnswerProgress) -> FailureSummary {
        FailureSummary {
            code: self.code(),
            message: brief(self.told(answer), WORDS),
            stack: stack(self.stack()),
            is_own: matches!(self.owner(), Owner::Handler | Owner::Ours),
        }
    }
}

/// Cuts a guest's stack to whole lines.
fn stack(text: &str) -> String {
    let mut room = STACK;
    let fits = |line: &&str| {
        let fits = line.len() < room;
        room = room.saturating_sub(line.len() + 1);
        fits
    };
    text.lines().take_while(fits).collect::<Vec<_>>().join("\n")
}

/// Makes the entry of a job whose last part has ended now.
#[inline]
fn ended_now(
    (Label { id, parent }, trace): TracedLabel,
    job: Option<JobSummary>,
    request: Option<RequestSummary>,
) -> HistoryEntry {
    let (parent, ended) = (parent.map(|parent| parent.0), SystemTime::now());
    HistoryEntry { id: Some(id.0), parent, trace, version: None, ended, job, request }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use http::Method;

    use super::*;
    use crate::job::JobId;
    use crate::observe::history::{History, JobDurations, VersionLabel};

    fn job() -> JobSummary {
        let now = Instant::now();
        JobSummary {
            started: Some(now),
            ended: now,
            parts: JobDurations::default(),
            cpu: Duration::ZERO,
            memory: 0,
            read: 0,
            written: 0,
            used: [0; 6],
            status: 0,
            details: None,
        }
    }

    /// Ends the parts of a job in this order. Returns which parts its entry has.
    fn ended(answers: bool, order: &[&str]) -> Vec<(bool, bool)> {
        let history = Arc::new(History::default());
        history.resize(1 << 20);
        let (handler, version, kind) = ("one".to_owned(), "1".to_owned(), "wasip1".to_owned());
        let version = history.of(VersionLabel { handler, version, kind });
        let (ends, label) = (JobEnds::default(), (Label { id: JobId(7), parent: None }, None));
        if answers {
            ends.answers_request();
        }
        for part in order {
            let request = || RequestSummary::begun(Instant::now(), &Method::GET, "/", None);
            match *part {
                "job" => ends.job_ended(&version, label, job()),
                "request" => ends.request_ended(&version, label, request(), true),
                "answers nothing" => ends.answers_nothing(&version, label),
                _ => ends.request_ended(&version, label, request(), false),
            }
        }
        let entries = history.recent();
        let unpacked = entries.iter().map(|entry| entry.unpacked());
        unpacked.map(|entry| (entry.job.is_some(), entry.request.is_some())).collect()
    }

    #[test]
    fn the_calls_of_a_job_are_taken_once_and_up_to_their_limit() {
        let ends = JobEnds::default();
        assert!(ends.take_calls().is_empty());
        for _ in 0..=CALLS {
            let (started, time) = (Instant::now(), Duration::ZERO);
            ends.called(CallSummary { started, time, origin: String::new(), outcome: "answered" });
        }

        let taken = ends.take_calls().len();

        assert_eq!((taken, ends.take_calls().len()), (CALLS, 0));
    }

    #[test]
    fn the_later_end_makes_one_entry_of_both() {
        assert_eq!(ended(true, &["job", "request"]), [(true, true)]);
        assert_eq!(ended(true, &["request", "job"]), [(true, true)]);
        assert!(ended(true, &["job"]).is_empty() && ended(true, &["request"]).is_empty());
    }

    #[test]
    fn a_job_without_a_request_and_a_request_without_a_run_are_entries_of_their_own() {
        assert_eq!(ended(false, &["job"]), [(true, false)]);
        assert_eq!(ended(true, &["left the queue"]), [(false, true)]);
        assert_eq!(ended(true, &["job", "answers nothing"]), [(true, false)]);
        assert_eq!(ended(true, &["answers nothing", "job"]), [(true, false)]);
    }

    #[test]
    fn a_long_stack_is_cut_between_lines() {
        let long = "x".repeat(99) + "\n";

        assert_eq!(stack(&long.repeat(100)).len(), 40 * 100 - 1);
        assert_eq!(stack("  0: main\n  1: start\n"), "  0: main\n  1: start");
    }
}
