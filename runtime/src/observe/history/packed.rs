//! `PackedEntry`: what a chunk keeps of an entry.

use std::mem;
use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use http::Method;
use opentelemetry::TraceId;

use super::entry::{FailureSummary, HistoryEntry, JobSummary, RequestSummary};

/// An entry without its names and the path of its request, which are in its chunk.
///
/// Each request writes one, so it is short: failures, stderr and calls lie elsewhere, because few entries have any.
#[derive(Clone)]
pub(super) struct PackedEntry {
    pub(super) id: Option<u64>,
    pub(super) parent: Option<u64>,
    trace: Option<TraceId>,
    pub(super) ended: SystemTime,
    job: Option<JobSummary>,
    request: Option<PackedRequest>,
    /// The index of its names in the chunk.
    pub(super) names: usize,
    /// Where the path begins in the paths of the chunk. It ends where the path of the next entry begins.
    pub(super) path: usize,
}

/// A request, without its path.
#[derive(Clone)]
struct PackedRequest {
    accepted: Instant,
    head_sent: Option<Instant>,
    ended: Instant,
    method: Method,
    client: Option<IpAddr>,
    status: Option<u16>,
    sent: u64,
    is_complete: bool,
    reason: Option<&'static str>,
    failure: Option<Box<FailureSummary>>,
}

impl PackedEntry {
    /// Packs an entry, and takes its parts out of it.
    pub(super) fn of(entry: &mut HistoryEntry, names: usize, path: usize) -> PackedEntry {
        PackedEntry {
            id: entry.id,
            parent: entry.parent,
            trace: entry.trace,
            ended: entry.ended,
            job: entry.job.take(),
            request: entry.request.as_mut().map(PackedRequest::of),
            names,
            path,
        }
    }

    /// Returns the entry without its version, and its request without path and route.
    pub(super) fn unpacked(&self) -> HistoryEntry {
        self.with_job(self.job.clone())
    }

    /// Reports whether all went well.
    pub(super) fn is_well(&self) -> bool {
        let has_failed = self.job.as_ref().is_some_and(|job| job.failure().is_some());
        // Of a run that has not failed, nothing else counts.
        !has_failed && self.with_job(None).is_well()
    }

    /// Returns the bytes that it holds elsewhere.
    pub(super) fn held_bytes(&self) -> usize {
        self.job.as_ref().map_or(0, JobSummary::held_bytes)
            + self.request.as_ref().map_or(0, PackedRequest::held_bytes)
    }

    fn with_job(&self, job: Option<JobSummary>) -> HistoryEntry {
        HistoryEntry {
            id: self.id,
            parent: self.parent,
            trace: self.trace,
            version: None,
            ended: self.ended,
            job,
            request: self.request.as_ref().map(PackedRequest::summary),
        }
    }
}

impl PackedRequest {
    fn of(request: &mut RequestSummary) -> PackedRequest {
        let RequestSummary { accepted, head_sent, ended, client, status, sent, is_complete, reason, .. } =
            *request;
        let (method, failure) = (mem::take(&mut request.method), request.failure.take());
        PackedRequest {
            accepted,
            head_sent,
            ended,
            method,
            client,
            status,
            sent,
            is_complete,
            reason,
            failure,
        }
    }

    fn summary(&self) -> RequestSummary {
        let PackedRequest { accepted, head_sent, ended, client, status, sent, is_complete, reason, .. } =
            *self;
        RequestSummary {
            accepted,
            head_sent,
            ended,
            method: self.method.clone(),
            path: String::new(),
            route: None,
            client,
            status,
            sent,
            is_complete,
            reason,
            failure: self.failure.clone(),
        }
    }

    fn held_bytes(&self) -> usize {
        self.method.as_str().len() + self.failure.as_deref().map_or(0, FailureSummary::size)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::history::{CallSummary, JobDetails, JobDurations};

    fn failure(code: &'static str) -> Option<FailureSummary> {
        let (message, stack) = ("why".to_owned(), "  0: main".to_owned());
        Some(FailureSummary { code, message, stack, is_own: true })
    }

    fn job(failure: Option<FailureSummary>, stderr: &str) -> JobSummary {
        let (ended, second) = (Instant::now(), Duration::from_secs(1));
        let call =
            CallSummary { started: ended, time: second, origin: "http://a".to_owned(), outcome: "answered" };
        JobSummary {
            started: Some(ended),
            ended,
            parts: JobDurations { queue: second, instantiate: Some(2 * second), guest: Some(3 * second) },
            cpu: 4 * second,
            memory: 5,
            read: 6,
            written: 7,
            used: [8, 9, 10, 11, 12, 13],
            status: 14,
            details: JobDetails::of(failure, stderr.to_owned(), vec![call; stderr.len()]),
        }
    }

    fn request(status: u16, failure: Option<FailureSummary>) -> RequestSummary {
        let method = Method::from_bytes(b"LONGER-THAN-FIFTEEN").unwrap();
        RequestSummary {
            head_sent: Some(Instant::now()),
            ended: Instant::now(),
            status: Some(status),
            sent: 15,
            is_complete: true,
            reason: Some("bad_answer").filter(|_| failure.is_some()),
            failure: failure.map(Box::new),
            ..RequestSummary::begun(Instant::now(), &method, "", "192.0.2.1".parse().ok())
        }
    }

    fn entries() -> Vec<HistoryEntry> {
        let entry = |job, request| HistoryEntry {
            id: Some(1),
            parent: Some(2),
            trace: Some(TraceId::from_bytes([3; 16])),
            version: None,
            ended: SystemTime::now(),
            job,
            request,
        };
        vec![
            entry(None, None),
            entry(Some(job(None, "")), Some(request(200, None))),
            entry(Some(job(None, "two")), Some(request(200, None))),
            entry(Some(job(None, "")), Some(request(500, None))),
            entry(Some(job(failure("trapped"), "")), None),
            entry(None, Some(request(502, failure("bad_answer")))),
            entry(Some(job(failure("trapped"), "x")), Some(request(502, failure("bad_answer")))),
        ]
    }

    #[test]
    fn each_part_of_an_entry_comes_out_as_it_was_packed() {
        for entry in entries() {
            let packed = PackedEntry::of(&mut entry.clone(), 0, 0);

            assert_eq!(format!("{:?}", packed.unpacked()), format!("{entry:?}"));
            assert_eq!(packed.is_well(), entry.is_well());
        }
    }

    #[test]
    fn a_success_without_output_takes_the_fixed_size_alone_and_others_what_they_hold() {
        let packed = entries().iter_mut().map(|entry| PackedEntry::of(entry, 0, 0)).collect::<Vec<_>>();
        let method = "LONGER-THAN-FIFTEEN".len();
        let held: Vec<_> = packed.iter().map(|packed| packed.held_bytes() > method).collect();
        assert_eq!(held, [false, false, true, false, true, true, true]);
        assert!(size_of::<PackedEntry>() <= 6 * 64, "six cache lines: {}", size_of::<PackedEntry>());

        let calls = 3 * (size_of::<CallSummary>() + "http://a".len());
        assert_eq!(packed[2].held_bytes(), size_of::<JobDetails>() + calls + "two".len() + method);
    }
}
