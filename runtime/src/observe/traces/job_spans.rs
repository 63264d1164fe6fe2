//! The span of one job, and those that its guest makes below it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use opentelemetry::{SpanId, TraceId};

use super::guest_spans::GuestSpan;
use super::trace::SpanRef;

/// The most spans that a guest makes in one job.
const SPANS: usize = 128;

/// The most bytes of the spans of a guest in one job. They are not memory of the guest.
const BYTES: usize = 128 << 10;

/// The most spans of a guest that are open at once.
const OPEN: usize = 64;

/// The span of a job. Empty if the job is not traced.
#[derive(Default, Debug)]
pub struct JobSpans {
    /// The span, and the name of the handler.
    job: OnceLock<(SpanRef, Arc<str>)>,
    /// Locked by jobs that are traced only.
    guest: Mutex<GuestSpans>,
}

/// The spans that a guest has made.
#[derive(Default, Debug)]
struct GuestSpans {
    /// The spans that have not ended, outermost first.
    open: Vec<SpanId>,
    ended: usize,
    bytes: usize,
}

impl JobSpans {
    /// Sets the span of the job of a handler. Only the first call has an effect.
    pub fn begin(&self, job: SpanRef, handler: Arc<str>) {
        let _first = self.job.set((job, handler));
    }

    /// Returns the span of the job. `None` if it is not traced.
    pub fn job(&self) -> Option<&SpanRef> {
        self.job.get().map(|(job, _)| job)
    }

    /// Returns the trace of the job. `None` if it is not traced.
    pub fn trace_id(&self) -> Option<TraceId> {
        self.job().map(SpanRef::trace_id)
    }

    /// Returns the innermost span: the span that the guest opened last, or the span of the job.
    pub fn innermost(&self) -> Option<SpanRef> {
        let job = self.job()?;
        let open = self.lock().open.last().copied();
        Some(open.map_or_else(|| job.clone(), |open| job.at(open)))
    }

    /// Opens a span of the guest. More than [`OPEN`] are not noticed.
    pub fn guest_began(&self, id: SpanId) {
        if self.is_recording() {
            let mut guest = self.lock();
            if guest.open.len() < OPEN {
                guest.open.push(id);
            }
        }
    }

    /// Ends a span of the guest, and records it within the limits of the job.
    pub fn guest_ended(&self, span: GuestSpan) {
        let Some((job, handler)) = self.job.get().filter(|_| self.is_recording()) else { return };
        let (span, bytes) = span.bounded();
        let mut guest = self.lock();
        guest.open.retain(|open| *open != span.id);
        if guest.ended >= SPANS || guest.bytes + bytes > BYTES {
            return job.left_out();
        }
        guest.ended += 1;
        guest.bytes += bytes;
        drop(guest);
        job.guest_ended((span, bytes), handler.clone());
    }

    /// Reports whether the spans of the guest are kept. Those of a trace that is kept for its failure are not: guests are
    /// told that it is not sampled.
    fn is_recording(&self) -> bool {
        self.job().is_some_and(SpanRef::is_sampled)
    }

    fn lock(&self) -> MutexGuard<'_, GuestSpans> {
        // The list is consistent after every statement.
        self.guest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
