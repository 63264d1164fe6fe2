//! Reads `[limits]` and `handler.NAME.limits`: the limits of jobs.

use super::memory_bound::MemoryBound;
use super::outbound;
use super::reader::Keyed;
use super::report::Diagnostics;
use super::schema;
use super::values;
use crate::budget::max_per_job;
use crate::job::Limits;

/// The most jobs at once, of one handler or of all: the size of the pool of sandboxes.
pub(super) const MOST_JOBS: usize = 4096;

/// The longest queue of a handler.
const LONGEST_QUEUE: usize = 65_536;

/// The most handles of a job: a fraction of Linux's default for fs.nr_open.
const MOST_HANDLES: usize = 65_536;

/// The least memory of all jobs together: an eighth is reserved, and a handler that holds little may
/// use a quarter of the reserve.
const LEAST_MEMORY: u64 = 2 << 20;

/// The limits on limits.
#[derive(Clone, Copy)]
pub(super) struct LimitBounds {
    /// Jobs at once over all handlers.
    pub(super) jobs: usize,
}

/// Reads the memory of all jobs together.
pub(super) fn total_memory(written: Option<&Keyed<schema::Limits>>, report: &Diagnostics<'_>) -> MemoryBound {
    let at = written.and_then(|Keyed { value: limits, .. }| limits.total_memory.as_ref());
    report.settle(at, MemoryBound::Auto, |scalar| values::memory_bound(scalar, LEAST_MEMORY))
}

/// Refuses `total_memory` in a handler: it applies to all jobs together.
pub(super) fn own_only(written: Option<&Keyed<schema::Limits>>, report: &Diagnostics<'_>) {
    let at = written.and_then(|Keyed { value: limits, .. }| limits.total_memory.as_ref());
    if let Some(Keyed { key, line, .. }) = at {
        let advice = "applies to all handlers together: set total_memory in [limits], and limits.memory here";
        report.add(*line, key, advice);
    }
}

/// Reads the limits of `[limits]` or of a handler. A missing key takes its value from `defaults`.
pub(super) fn read(
    written: Option<&Keyed<schema::Limits>>,
    defaults: &Limits,
    LimitBounds { jobs }: LimitBounds,
    report: &Diagnostics<'_>,
) -> Limits {
    let Some(Keyed { value: limits, .. }) = written else { return defaults.clone() };
    // A page of linear memory is 64 KiB, and its addresses have 32 bits.
    let memory = values::size_in_memory(64 << 10..=4 << 30);
    let concurrency = |scalar: &_| match values::count(1..=MOST_JOBS)(scalar)? {
        count if count <= max_per_job(jobs) => Ok(count),
        count => Err(format!(
            "{count} jobs of one handler cannot run at once where jobs = {jobs}: at most {}, as some places are \
             kept for the others; raise jobs",
            max_per_job(jobs)
        )),
    };
    let rate = |scalar: &_| {
        let lines = values::count(1..=1_000_000)(scalar)?;
        u32::try_from(lines).map_err(|error| error.to_string())
    };
    Limits {
        memory: report.settle(limits.memory.as_ref(), defaults.memory, memory),
        time: report.settle(limits.time.as_ref(), defaults.time, values::deadline_or_none),
        cpu: report.settle(limits.cpu.as_ref(), defaults.cpu, values::deadline_or_none),
        body: report.settle(limits.body.as_ref(), defaults.body, values::size_or_none),
        output: report.settle(limits.output.as_ref(), defaults.output, values::size_or_none),
        concurrency: report.settle(limits.concurrency.as_ref(), defaults.concurrency, concurrency),
        concurrency_per_peer: report.settle(
            limits.concurrency_per_peer.as_ref(),
            defaults.concurrency_per_peer,
            |scalar| values::count(1..=MOST_JOBS)(scalar).map(Some),
        ),
        queue: report.settle(limits.queue.as_ref(), defaults.queue, values::count(0..=LONGEST_QUEUE)),
        queue_time: report.settle(limits.queue_time.as_ref(), defaults.queue_time, values::deadline),
        stderr: report.settle(limits.stderr.as_ref(), defaults.stderr, values::size(0..=u64::MAX)),
        stderr_rate: report.settle(limits.stderr_rate.as_ref(), defaults.stderr_rate, rate),
        // With fewer, a job could not hold its stdio and the handles that one read of a file takes.
        handles: report.settle(limits.handles.as_ref(), defaults.handles, values::count(16..=MOST_HANDLES)),
        outbound: outbound::limits(limits.outbound.as_ref(), defaults.outbound, report),
    }
}
