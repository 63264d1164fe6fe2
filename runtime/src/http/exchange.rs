//! One request and its response: what the log says of it, and the moment it is over.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use tracing::{info, warn};

use super::deadline::Progress;
use crate::job::{Fault, JobId, Name};

/// Lives as long as the response is being written. Dropping it lets the next request come.
pub(super) struct Exchange {
    progress: Progress,
    keep_alive: Duration,
    call: Option<Call>,
    line: Option<Line>,
}

/// The job behind the response.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) id: JobId,
    pub(super) name: Name,
}

/// What an access line says.
struct Line {
    start: Instant,
    method: Method,
    target: String,
    status: StatusCode,
    bytes: u64,
    complete: bool,
}

impl Exchange {
    pub(super) fn new(progress: Progress, keep_alive: Duration) -> Exchange {
        Exchange { progress, keep_alive, call: None, line: None }
    }

    /// Asks for an access line at the end.
    pub(super) fn note(&mut self, method: &Method, target: &str) {
        self.line = Some(Line {
            start: Instant::now(),
            method: method.clone(),
            target: target.escape_debug().to_string(),
            status: StatusCode::OK,
            bytes: 0,
            complete: true,
        });
    }

    pub(super) fn called(&mut self, call: Call) {
        self.call = Some(call);
    }

    pub(super) fn answered(&mut self, status: StatusCode) {
        self.line.iter_mut().for_each(|line| line.status = status);
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.line.iter_mut().for_each(|line| line.bytes += bytes as u64);
    }

    pub(super) fn broke_off(&mut self, fault: &Fault) {
        self.line.iter_mut().for_each(|line| line.complete = false);
        if let Some(call) = &self.call {
            complain(call, fault);
        }
    }
}

/// Logs a job that failed, with the guest's stack if there is one.
pub(super) fn complain(call: &Call, fault: &Fault) {
    let Call { id, name } = call;
    match fault {
        Fault::Trapped { stack, .. } if !stack.is_empty() => {
            warn!("[{id}] {name} {fault}\n{}", stack.trim_end())
        }
        fault => warn!("[{id}] {name} {fault}"),
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.progress.answered(self.keep_alive);
        let Some(Line { start, method, target, status, bytes, complete }) = &self.line else { return };
        let time = start.elapsed();
        let end = if *complete { "" } else { " (broken off)" };
        match &self.call {
            Some(Call { id, name }) => {
                info!(
                    "[{id}] {method} {target} -> {} {name} {bytes} bytes in {time:.1?}{end}",
                    status.as_u16()
                );
            }
            None => info!("{method} {target} -> {} {bytes} bytes in {time:.1?}{end}", status.as_u16()),
        }
    }
}
