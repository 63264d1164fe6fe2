//! `PackedEntry`: what a chunk keeps of an entry.

use std::time::{Duration, Instant, SystemTime};

use http::Method;
use opentelemetry::TraceId;

use super::entry::{CallSummary, FailureSummary, HistoryEntry, JobDurations, JobSummary, RequestSummary};

/// An entry without its names and the texts of its request, which are in its chunk.
///
/// Each request writes one, so it is short: failures, stderr and calls lie elsewhere, because few entries have any.
#[derive(Clone)]
pub(super) struct PackedEntry {
    pub(super) id: Option<u64>,
    pub(super) parent: Option<u64>,
    trace: Option<TraceId>,
    pub(super) ended: SystemTime,
    job: Option<PackedJob>,
    request: Option<PackedRequest>,
    /// `None` if the job has neither failed nor written to stderr nor called anything.
    details: Option<Box<EntryDetails>>,
    /// The index of its names in the chunk.
    pub(super) names: usize,
    /// Where the path begins in the texts of the chunk, where it ends and the client begins, and where that ends.
    pub(super) texts: [usize; 3],
}

/// The run of a job, without its details.
#[derive(Clone, Copy)]
struct PackedJob {
    started: Option<Instant>,
    ended: Instant,
    parts: JobDurations,
    cpu: Duration,
    memory: usize,
    read: u64,
    written: u64,
    used: [u32; 6],
    status: u8,
}

/// A request, without its texts and its failure.
#[derive(Clone)]
struct PackedRequest {
    accepted: Instant,
    head_sent: Option<Instant>,
    ended: Instant,
    method: Method,
    status: Option<u16>,
    sent: u64,
    is_complete: bool,
    reason: Option<&'static str>,
}

/// The parts that few entries have.
#[derive(Clone)]
struct EntryDetails {
    /// The failures of the job and of its request.
    failures: [Option<Box<FailureSummary>>; 2],
    stderr: String,
    calls: Vec<CallSummary>,
}

impl PackedEntry {
    /// Packs an entry.
    pub(super) fn of(entry: &HistoryEntry, names: usize, texts: [usize; 3]) -> PackedEntry {
        let HistoryEntry { id, parent, trace, version: _, ended, job, request } = entry;
        PackedEntry {
            id: *id,
            parent: *parent,
            trace: *trace,
            ended: *ended,
            job: job.as_ref().map(PackedJob::of),
            request: request.as_ref().map(PackedRequest::of),
            details: EntryDetails::of(entry),
            names,
            texts,
        }
    }

    /// Returns the entry without its version, and its request without path, route and client.
    pub(super) fn unpacked(&self) -> HistoryEntry {
        let mut entry = self.without_details();
        if let Some(details) = self.details.as_deref() {
            let EntryDetails { failures: [of_job, of_request], stderr, calls } = details.clone();
            if let Some(job) = &mut entry.job {
                (job.failure, job.stderr, job.calls) = (of_job, stderr, calls);
            }
            if let Some(request) = &mut entry.request {
                request.failure = of_request;
            }
        }
        entry
    }

    /// Reports whether all went well.
    pub(super) fn is_well(&self) -> bool {
        let failures = self.details.iter().flat_map(|details| &details.failures);
        failures.flatten().next().is_none() && self.without_details().is_well()
    }

    /// Returns the bytes that it holds elsewhere.
    pub(super) fn held_bytes(&self) -> usize {
        let method = self.request.as_ref().map_or(0, |request| request.method.as_str().len());
        method + self.details.as_deref().map_or(0, EntryDetails::size)
    }

    fn without_details(&self) -> HistoryEntry {
        HistoryEntry {
            id: self.id,
            parent: self.parent,
            trace: self.trace,
            version: None,
            ended: self.ended,
            job: self.job.map(PackedJob::summary),
            request: self.request.as_ref().map(PackedRequest::summary),
        }
    }
}

impl PackedJob {
    fn of(job: &JobSummary) -> PackedJob {
        let JobSummary { started, ended, parts, cpu, memory, read, written, used, status, .. } = *job;
        PackedJob { started, ended, parts, cpu, memory, read, written, used, status }
    }

    fn summary(self) -> JobSummary {
        let PackedJob { started, ended, parts, cpu, memory, read, written, used, status } = self;
        JobSummary {
            started,
            ended,
            parts,
            cpu,
            memory,
            read,
            written,
            used,
            status,
            failure: None,
            stderr: String::new(),
            calls: Vec::new(),
        }
    }
}

impl PackedRequest {
    fn of(request: &RequestSummary) -> PackedRequest {
        let RequestSummary { accepted, head_sent, ended, status, sent, is_complete, reason, .. } = *request;
        let method = request.method.clone();
        PackedRequest { accepted, head_sent, ended, method, status, sent, is_complete, reason }
    }

    fn summary(&self) -> RequestSummary {
        let PackedRequest { accepted, head_sent, ended, ref method, status, sent, is_complete, reason } =
            *self;
        RequestSummary {
            accepted,
            head_sent,
            ended,
            method: method.clone(),
            path: String::new(),
            route: None,
            client: None,
            status,
            sent,
            is_complete,
            reason,
            failure: None,
        }
    }
}

impl EntryDetails {
    fn of(entry: &HistoryEntry) -> Option<Box<EntryDetails>> {
        let (job, request) = (entry.job.as_ref(), entry.request.as_ref());
        let has_output = job.is_some_and(|job| !job.stderr.is_empty() || !job.calls.is_empty());
        (has_output || entry.failure().is_some()).then(|| {
            Box::new(EntryDetails {
                failures: [
                    job.and_then(|job| job.failure.clone()),
                    request.and_then(|request| request.failure.clone()),
                ],
                stderr: job.map(|job| job.stderr.clone()).unwrap_or_default(),
                calls: job.map(|job| job.calls.clone()).unwrap_or_default(),
            })
        })
    }

    /// Returns its bytes.
    fn size(&self) -> usize {
        let EntryDetails { failures, stderr, calls } = self;
        let failures: usize = failures.iter().flatten().map(|failure| failure.size()).sum();
        let origins: usize = calls.iter().map(|call| call.origin.capacity()).sum();
        let calls = calls.capacity() * size_of::<CallSummary>() + origins;
        size_of::<EntryDetails>() + failures + stderr.capacity() + calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: &'static str) -> Option<Box<FailureSummary>> {
        let (message, stack) = ("why".to_owned(), "  0: main".to_owned());
        Some(Box::new(FailureSummary { code, message, stack, is_own: true }))
    }

    fn job(failure: Option<Box<FailureSummary>>, stderr: &str) -> JobSummary {
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
            failure,
            stderr: stderr.to_owned(),
            calls: vec![call; stderr.len()],
        }
    }

    fn request(status: u16, failure: Option<Box<FailureSummary>>) -> RequestSummary {
        let method = Method::from_bytes(b"LONGER-THAN-FIFTEEN").unwrap();
        RequestSummary {
            head_sent: Some(Instant::now()),
            ended: Instant::now(),
            status: Some(status),
            sent: 15,
            is_complete: true,
            reason: Some("bad_answer").filter(|_| failure.is_some()),
            failure,
            ..RequestSummary::begun(Instant::now(), &method, "", &"".into())
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
            let packed = PackedEntry::of(&entry, 0, [0; 3]);

            assert_eq!(format!("{:?}", packed.unpacked()), format!("{entry:?}"));
            assert_eq!(packed.is_well(), entry.is_well());
        }
    }

    #[test]
    fn a_success_without_output_takes_the_fixed_size_alone_and_others_what_they_hold() {
        let held: Vec<_> =
            entries().iter().map(|entry| PackedEntry::of(entry, 0, [0; 3]).details.is_some()).collect();
        assert_eq!(held, [false, false, true, false, true, true, true]);
        assert!(size_of::<PackedEntry>() <= 6 * 64, "six cache lines: {}", size_of::<PackedEntry>());

        let chatty = PackedEntry::of(&entries()[2], 0, [0; 3]);

        let calls = 3 * (size_of::<CallSummary>() + "http://a".len());
        let texts = "two".len() + "LONGER-THAN-FIFTEEN".len();
        assert_eq!(chatty.held_bytes(), size_of::<EntryDetails>() + calls + texts);
    }
}
