//! The job of a request, as far as its failure is logged and counted.

use std::sync::Arc;

use tracing::{error, info, warn};

use crate::job::{Fault, HandlerVersion, Job, JobId, Owner, Usage};
use crate::observe::log_format::json_field;

/// The code of a failure of the daemon.
pub(super) const INTERNAL: &str = "internal";

/// The advice for a panic of the daemon.
pub(super) const BUG: &str = "internal: a bug, please report it";

/// The job of a request, as far as its failure is logged and counted.
#[derive(Clone)]
pub(in crate::http) struct LoggedJob {
    pub(in crate::http) id: JobId,
    pub(in crate::http) entry: Arc<HandlerVersion>,
    pub(in crate::http) usage: Arc<Usage>,
}

impl LoggedJob {
    pub(in crate::http) fn of(job: &Job) -> LoggedJob {
        LoggedJob { id: job.id, entry: job.entry.clone(), usage: job.usage.clone() }
    }

    /// Logs a failure of the job, with the guest's stack if there is one. Counts it if the engine has not: an invalid
    /// response is seen only here.
    pub(in crate::http) fn complain(&self, fault: &Fault) {
        let LoggedJob { id, entry, usage } = self;
        let HandlerVersion { name, version, record, .. } = &**entry;
        let code = fault.code();
        let is_first = record.count_failure(&usage.failure, code);
        if let Fault::NoScript(_) = fault {
            // A script that does not exist is a matter for the access log.
            return;
        }
        if let Fault::InputBroken(_) = fault
            && !usage.has_begun()
        {
            // A client that leaves while it sends needs no warning to the operator.
            info!("[{id}] {name} {fault} ({code})");
            return;
        }
        let told = fault.told(&usage.answer);
        let (whole, short) = (format!("{told} ({code})"), format!("{} ({code})", told.without_words()));
        let text = entry.failure_text(whole, short, fault.stack());
        if is_first
            && matches!(fault.owner(), Owner::Handler | Owner::Ours)
            && let Some(history) = &entry.history
        {
            // The run that `logs` shows has ended without a word of this failure.
            history.failed(id.0, text.clone());
        }
        warn!(trace_id = json_field(usage.spans.trace_id()), "[{id}] {name}@{version} {text}");
    }

    /// Logs and counts a panic of the daemon. The job ended with it and not by itself.
    pub(super) fn panicked(&self, words: &str) {
        let LoggedJob { id, entry, usage } = self;
        let HandlerVersion { name, version, record, .. } = &**entry;
        record.count_failure(&usage.failure, INTERNAL);
        error!("[{id}] {name}@{version} the daemon panicked over its answer: {words} ({BUG})");
    }
}
