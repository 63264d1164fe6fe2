//! Sends spans to the collector: a bounded queue, and the task that empties it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use opentelemetry_sdk::trace::SpanData;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::collector_reply::RefusedSpans;
use super::counts::{DropReason, TraceCounts};
use super::otlp::{OtlpExporter, SpanTransport};
use super::record::FinishedTrace;
use super::settings::TraceSettings;

/// The bytes that the queue has for each span of its length. A larger span takes the place of others.
const EACH: usize = 4 << 10;

/// The bytes of traces after which no further one is sent with them.
const BATCH: usize = 1 << 20;

/// The queue before the exporter. Its task ends when the queue was dropped and is empty.
pub(super) struct SpanQueue {
    sender: mpsc::Sender<ExporterMessage>,
    waiting: Arc<QueuedSpans>,
    max: usize,
    counts: Arc<TraceCounts>,
    /// Closed once the exporter has ended.
    ended: watch::Receiver<()>,
}

/// The room that queued traces take.
#[derive(Default)]
struct QueuedSpans {
    /// The spans that wait.
    spans: AtomicUsize,
    /// The bytes of those that wait, and of those that are being sent.
    bytes: AtomicUsize,
}

/// A handle to a running exporter, to wait until its spans are sent. Does not keep the queue alive.
#[derive(Clone)]
pub(super) struct RunningExporter {
    sender: mpsc::WeakSender<ExporterMessage>,
    ended: watch::Receiver<()>,
}

enum ExporterMessage {
    Trace(FinishedTrace),
    /// All that was queued before is to be sent now.
    Flush(oneshot::Sender<()>),
}

/// The task that sends spans.
struct Exporter {
    queue: mpsc::Receiver<ExporterMessage>,
    waiting: Arc<QueuedSpans>,
    client: OtlpExporter,
    settings: TraceSettings,
    counts: Arc<TraceCounts>,
    /// Whether the collector took nothing the last time, which was logged.
    is_down: bool,
    /// Whether it took a part only, which was logged.
    is_partial: bool,
    /// Closes the channel at the end of the task.
    _ends: watch::Sender<()>,
}

/// Traces that are sent together.
#[derive(Default)]
struct SpanBatch {
    traces: Vec<FinishedTrace>,
    spans: usize,
    bytes: usize,
    /// Told when the batch was sent.
    flushed: Vec<oneshot::Sender<()>>,
}

impl SpanQueue {
    /// Makes a queue and starts its task on the runtime of the caller.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub(super) fn start(
        settings: &TraceSettings,
        transport: Arc<dyn SpanTransport>,
        counts: Arc<TraceCounts>,
    ) -> Result<SpanQueue, String> {
        // Each message is a span or more.
        let (sender, queue) = mpsc::channel(settings.queue);
        let waiting = Arc::<QueuedSpans>::default();
        let client = OtlpExporter::new(settings, transport)?;
        let (ends, ended) = watch::channel(());
        let exporter = Exporter {
            queue,
            waiting: waiting.clone(),
            client,
            settings: settings.clone(),
            counts: counts.clone(),
            is_down: false,
            is_partial: false,
            _ends: ends,
        };
        // Not aborted with the queue: spans that wait are still sent.
        drop(tokio::spawn(exporter.run()));
        Ok(SpanQueue { sender, waiting, max: settings.queue, counts, ended })
    }

    /// Queues a trace, or drops it if there is no room. Never waits.
    pub(super) fn send(&self, trace: FinishedTrace) {
        let (spans, bytes) = (trace.spans(), trace.bytes());
        let QueuedSpans { spans: all, bytes: all_bytes } = &*self.waiting;
        if take(all, spans, self.max) {
            if take(all_bytes, bytes, self.max.saturating_mul(EACH)) {
                if self.sender.try_send(ExporterMessage::Trace(trace)).is_ok() {
                    return;
                }
                all_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            all.fetch_sub(spans, Ordering::Relaxed);
        }
        self.counts.dropped(DropReason::QueueFull, spans);
    }

    /// Returns a handle to the exporter that empties the queue.
    pub(super) fn exporter(&self) -> RunningExporter {
        RunningExporter { sender: self.sender.downgrade(), ended: self.ended.clone() }
    }

    pub(super) fn counts(&self) -> &TraceCounts {
        &self.counts
    }
}

/// Takes room for a trace, if there is as much. A trace that is larger than all room has it for itself.
fn take(taken: &AtomicUsize, more: usize, max: usize) -> bool {
    let with = |taken: usize| (taken == 0 || taken + more <= max).then_some(taken + more);
    taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with).is_ok()
}

impl RunningExporter {
    /// Reports whether all spans were sent, or were not taken, and no more will come.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.has_changed().is_err()
    }

    /// Waits until all that is queued now was sent, or was not taken.
    pub(super) async fn flush(mut self) {
        let Some(sender) = self.sender.upgrade() else {
            // The queue was dropped, so the exporter sends the rest without being asked, and ends.
            while self.ended.changed().await.is_ok() {}
            return;
        };
        let (told, flushed) = oneshot::channel();
        let asked = sender.send(ExporterMessage::Flush(told)).await;
        // The exporter could not end while there is a sender.
        drop(sender);
        if asked.is_ok() {
            let _ended = flushed.await;
        }
    }
}

impl Exporter {
    async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            let mut batch = SpanBatch::default();
            self.take(first, &mut batch);
            let mut due = std::pin::pin!(sleep(self.settings.delay));
            while batch.flushed.is_empty() && batch.spans < self.settings.batch && batch.bytes < BATCH {
                tokio::select! {
                    next = self.queue.recv() => match next {
                        Some(next) => self.take(next, &mut batch),
                        None => break,
                    },
                    () = &mut due => break,
                }
            }
            self.export(batch.traces).await;
            self.waiting.bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
            for told in batch.flushed {
                // The flush may have been given up.
                let _told = told.send(());
            }
        }
    }

    fn take(&self, message: ExporterMessage, batch: &mut SpanBatch) {
        match message {
            ExporterMessage::Trace(trace) => {
                let spans = trace.spans();
                self.waiting.spans.fetch_sub(spans, Ordering::Relaxed);
                batch.spans += spans;
                batch.bytes += trace.bytes();
                batch.traces.push(trace);
            }
            ExporterMessage::Flush(told) => batch.flushed.push(told),
        }
    }

    /// Sends the spans in requests of the configured size, and makes those of one request at a time. Those that are not
    /// taken are dropped: traces go stale, and what is kept for a collector that is down would push out what is new.
    async fn export(&mut self, traces: Vec<FinishedTrace>) {
        let mut all = traces.into_iter().flat_map(FinishedTrace::into_spans);
        loop {
            let batch: Vec<SpanData> = all.by_ref().take(self.settings.batch).collect();
            if batch.is_empty() {
                return;
            }
            let spans = batch.len();
            let sent = timeout(self.settings.timeout, self.client.export(batch)).await;
            let outcome = match sent {
                Ok(outcome) => outcome,
                Err(_) => Err(format!("no response within {:?}", self.settings.timeout)),
            };
            self.tell(outcome, spans);
        }
    }

    fn tell(&mut self, outcome: Result<Option<RefusedSpans>, String>, spans: usize) {
        let endpoint = &self.settings.endpoint;
        match outcome {
            Ok(refused) => {
                let lost = refused.as_ref().map_or(0, |refused| refused.count.min(spans));
                self.counts.sent(spans - lost);
                if std::mem::take(&mut self.is_down) {
                    info!("traces: {endpoint} takes spans again");
                }
                let was_partial = std::mem::replace(&mut self.is_partial, refused.is_some());
                if let Some(RefusedSpans { why, .. }) = refused {
                    self.counts.dropped(DropReason::NotDelivered, lost);
                    if !was_partial {
                        warn!("traces: {endpoint} has refused {lost} of {spans} spans: {why}");
                    }
                }
            }
            Err(why) => {
                self.counts.export_failed();
                self.counts.dropped(DropReason::NotDelivered, spans);
                if !std::mem::replace(&mut self.is_down, true) {
                    warn!("traces: spans are dropped until {endpoint} takes them: {why}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use futures_util::future::BoxFuture;
    use http::{Request, Response};
    use opentelemetry::trace::TraceState;
    use opentelemetry::{SpanId, TraceId};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::observe::traces::record::{OperationSpan, SpanFacts, SpanRecord};
    use crate::observe::traces::settings::TraceOptions;

    /// A collector that answers every request with a status and a body, once it may.
    struct Fixed {
        status: u16,
        body: &'static [u8],
        may: Arc<Semaphore>,
    }

    impl SpanTransport for Fixed {
        fn send(&self, _request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, String>> {
            let (may, status, body) = (self.may.clone(), self.status, self.body);
            Box::pin(async move {
                may.acquire().await.unwrap().forget();
                Ok(Response::builder().status(status).body(Bytes::from_static(body)).unwrap())
            })
        }
    }

    fn queue(status: u16, permits: usize, max: usize) -> (SpanQueue, Arc<Semaphore>) {
        answered(status, b"", permits, max)
    }

    fn answered(status: u16, body: &'static [u8], permits: usize, max: usize) -> (SpanQueue, Arc<Semaphore>) {
        let options = TraceOptions { is_set: true, ..TraceOptions::default() };
        let complete = options.complete(|_| None).unwrap().unwrap();
        let settings = TraceSettings { queue: max, batch: 1, delay: Duration::from_millis(1), ..complete };
        let may = Arc::new(Semaphore::new(permits));
        let transport = Arc::new(Fixed { status, body, may: may.clone() });
        (SpanQueue::start(&settings, transport, Arc::default()).unwrap(), may)
    }

    fn trace() -> FinishedTrace {
        of_bytes(1)
    }

    /// A trace with a name of this length.
    fn of_bytes(length: usize) -> FinishedTrace {
        let now = Instant::now();
        let operation = OperationSpan {
            system: "store",
            name: "a".repeat(length),
            started: now,
            ended: now,
            operation: None,
            failure: None,
        };
        let facts = SpanFacts::Operation(Box::new(operation));
        let record = SpanRecord { id: SpanId::from(1), parent: None, is_remote: false, facts };
        FinishedTrace { id: TraceId::from(1), state: TraceState::NONE, records: vec![record] }
    }

    #[tokio::test]
    async fn what_is_queued_is_sent_by_a_flush() {
        let (queue, _may) = queue(200, 9, 9);

        (0..3).for_each(|_| queue.send(trace()));
        queue.exporter().flush().await;

        assert_eq!((queue.counts().all_sent(), queue.counts().failed_exports()), (3, 0));
    }

    #[tokio::test]
    async fn a_collector_that_does_not_answer_fills_the_queue_and_holds_up_nobody() {
        let (queue, may) = queue(200, 0, 2);

        // One of them may be under way already.
        (0..10).for_each(|_| queue.send(trace()));

        let dropped = queue.counts().all_dropped(DropReason::QueueFull);
        assert!((7..=8).contains(&dropped), "{dropped}");
        may.add_permits(9);
        queue.exporter().flush().await;
        assert_eq!(queue.counts().all_sent() + dropped, 10);
    }

    #[tokio::test]
    async fn large_spans_fill_the_queue_before_their_number_does_until_they_were_sent() {
        let (queue, may) = queue(200, 0, 4);

        // There are four times 4 KiB for four spans.
        (0..10).for_each(|_| queue.send(of_bytes(7 << 10)));

        assert_eq!(queue.counts().all_dropped(DropReason::QueueFull), 8);
        may.add_permits(9);
        queue.exporter().flush().await;
        queue.send(of_bytes(7 << 10));
        queue.exporter().flush().await;
        assert_eq!(queue.counts().all_sent(), 3);
        assert_eq!(queue.waiting.bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn what_the_collector_refuses_is_dropped_and_counted() {
        let (queue, _may) = queue(503, 9, 9);

        queue.send(trace());
        queue.exporter().flush().await;

        let counts = queue.counts();
        assert_eq!((counts.all_dropped(DropReason::NotDelivered), counts.failed_exports()), (1, 1));
    }

    #[tokio::test]
    async fn spans_that_a_response_refuses_are_not_counted_as_sent() {
        // `partial_success { rejected_spans: 1 }`
        let (queue, _may) = answered(200, &[0x0a, 2, 0x08, 1], 9, 9);

        (0..2).for_each(|_| queue.send(trace()));
        queue.exporter().flush().await;

        let counts = queue.counts();
        assert_eq!((counts.all_sent(), counts.all_dropped(DropReason::NotDelivered)), (0, 2));
        assert_eq!(counts.failed_exports(), 0);
    }
}
