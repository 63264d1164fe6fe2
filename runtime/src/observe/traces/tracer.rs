//! `Tracer`: begins traces and decides which are sampled; and `Tracing`, the tracer in force.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::join_all;
use opentelemetry::TraceId;
use opentelemetry::trace::TraceState;
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};
use tokio::time::timeout;
use tracing::error;

use super::context::RemoteParent;
use super::counts::{DropReason, TraceCounts};
use super::exporter::{RunningExporter, SpanQueue};
use super::otlp::SpanTransport;
use super::record::JobTrigger;
use super::settings::{TraceSettings, TraceTrust};
use super::trace::{OpenSpan, TraceStart};

/// How long a flush waits for the collector at the end of the daemon.
const FLUSH: Duration = Duration::from_secs(5);

/// Begins traces. Dropping it sends what is queued, and ends its exporter.
pub struct Tracer {
    settings: TraceSettings,
    queue: Arc<SpanQueue>,
}

/// The tracer in force, if traces are on.
#[derive(Default)]
pub struct Tracing {
    current: ArcSwapOption<Tracer>,
    /// The exporters that may have spans. Connections and jobs that began before a reload use that of a replaced tracer.
    exporters: Mutex<Vec<RunningExporter>>,
    counts: Arc<TraceCounts>,
}

impl Tracer {
    /// Returns the settings.
    pub fn settings(&self) -> &TraceSettings {
        &self.settings
    }

    /// Reports whether the `traceparent` of a client is believed. `is_proxy` tells whether the client is a trusted proxy.
    pub fn believes(&self, is_proxy: impl FnOnce() -> bool) -> bool {
        match self.settings.trust {
            TraceTrust::TrustedProxies => is_proxy(),
            TraceTrust::Everybody => true,
            TraceTrust::Nobody => false,
        }
    }

    /// Begins the part of a trace that passes through this daemon. The parent decides whether it is sampled. Without a
    /// parent, a new trace begins. The configured share of new traces is sampled.
    pub fn begin(&self, parent: Option<RemoteParent>, trigger: JobTrigger) -> OpenSpan {
        let start = match parent {
            Some(RemoteParent { trace, span, is_sampled, state }) => {
                TraceStart { id: trace, parent: Some(span), is_sampled, state }
            }
            None => {
                let id = RandomIdGenerator::default().new_trace_id();
                let is_sampled = is_sampled(id, self.settings.ratio);
                TraceStart { id, parent: None, is_sampled, state: TraceState::NONE }
            }
        };
        OpenSpan::root(self.queue.clone(), start, trigger)
    }
}

/// Decides by the id of a trace, as every server with the same ratio does.
#[expect(clippy::cast_precision_loss, reason = "an error of 2^-53 of the traces does not matter")]
fn is_sampled(id: TraceId, ratio: f64) -> bool {
    let number = u64::from_be_bytes(id.to_bytes().last_chunk().copied().unwrap_or_default());
    (number as f64) < ratio * 2f64.powi(64)
}

impl Tracing {
    /// Returns the tracer. `None` if traces are off.
    pub fn current(&self) -> Option<Arc<Tracer>> {
        self.current.load_full()
    }

    /// Puts settings into force. A tracer with the same settings stays.
    pub fn apply(
        &self,
        settings: Option<TraceSettings>,
        transport: impl FnOnce(&TraceSettings) -> Result<Arc<dyn SpanTransport>, String>,
    ) {
        if self.current().as_ref().map(|tracer| &tracer.settings) == settings.as_ref() {
            return;
        }
        let started = settings.map(|settings| {
            let transport = transport(&settings)?;
            let queue = Arc::new(SpanQueue::start(&settings, transport, self.counts.clone())?);
            Ok::<_, String>(Arc::new(Tracer { settings, queue }))
        });
        match started.transpose() {
            Ok(tracer) => {
                self.wait_for(tracer.as_ref().map(|tracer| tracer.queue.exporter()));
                self.current.store(tracer);
            }
            Err(why) => error!("traces: they stay as they were: {why}"),
        }
    }

    /// Lets a flush wait for this exporter as well, and no more for those that have ended.
    fn wait_for(&self, exporter: Option<RunningExporter>) {
        let mut exporters = self.exporters.lock().unwrap_or_else(PoisonError::into_inner);
        exporters.retain(|exporter| !exporter.has_ended());
        exporters.extend(exporter);
    }

    /// Sends the queued spans of all tracers, including replaced ones. One time limit holds for all of them.
    pub async fn flush(&self) {
        let exporters = self.exporters.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // A collector that takes longer has its timeouts, and its spans are lost with the process.
        let _in_time = timeout(FLUSH, join_all(exporters.into_iter().map(RunningExporter::flush))).await;
    }

    /// Returns the counts of all tracers so far.
    pub fn counts(&self) -> &TraceCounts {
        &self.counts
    }

    /// Describes the tracer and its counts in a line. `None` if traces are off.
    pub fn describe(&self) -> Option<String> {
        let tracer = self.current()?;
        let dropped: u64 = DropReason::ALL.iter().map(|reason| self.counts.all_dropped(*reason)).sum();
        Some(format!("{}; {} spans sent, {dropped} dropped", tracer.settings, self.counts.all_sent()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use bytes::Bytes;
    use futures_util::future::BoxFuture;
    use http::{HeaderMap, HeaderValue, Request, Response};
    use opentelemetry::SpanId;

    use super::*;
    use crate::observe::history::{JobDurations, VersionLabel};
    use crate::observe::traces::context::TRACEPARENT;
    use crate::observe::traces::guest_spans::{GuestSpan, GuestSpanKind, GuestSpanStatus};
    use crate::observe::traces::job_spans::JobSpans;
    use crate::observe::traces::record::JobSpan;
    use crate::observe::traces::settings::TraceOptions;

    /// A collector that takes everything.
    struct Willing;

    impl SpanTransport for Willing {
        fn send(&self, _request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, String>> {
            Box::pin(std::future::ready(Ok(Response::new(Bytes::new()))))
        }
    }

    /// Makes a tracer that samples nothing by itself.
    fn sparing() -> Tracing {
        let options = TraceOptions { is_set: true, ratio: Some(0.0), ..TraceOptions::default() };
        let tracing = Tracing::default();
        tracing.apply(options.complete(|_| None).unwrap(), |_| Ok(Arc::new(Willing)));
        tracing
    }

    fn job(is_own_failure: bool) -> JobSpan {
        let version =
            VersionLabel { handler: "a".to_owned(), version: "1".to_owned(), kind: "wasip1".to_owned() };
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        JobSpan {
            version: Arc::new(version),
            job: 1,
            started: Some(now),
            ended: now,
            parts: JobDurations { queue: second, instantiate: Some(second), guest: Some(second) },
            cpu: second,
            memory: 0,
            status: 0,
            failure: is_own_failure.then(|| ("trapped", String::new())),
            is_own_failure,
        }
    }

    #[tokio::test]
    async fn a_trace_is_sent_when_its_last_job_has_ended_if_any_of_them_has_failed() {
        for (is_failed, sent) in [(false, 0), (true, 8)] {
            let tracing = sparing();
            let root = tracing.current().unwrap().begin(None, JobTrigger::Timer);
            let called = root.place().open(JobTrigger::Call);

            root.end_job(job(false));
            tracing.flush().await;
            assert_eq!(tracing.counts().all_sent(), 0);
            called.end_job(job(is_failed));
            tracing.flush().await;

            assert_eq!(tracing.counts().all_sent(), sent);
        }
    }

    #[tokio::test]
    async fn a_flush_sends_the_spans_of_a_tracer_that_was_replaced() {
        for is_used in [true, false] {
            let tracing = sparing();
            let replaced = tracing.current().unwrap();
            replaced.begin(None, JobTrigger::Timer).end_job(job(true));
            let replaced = is_used.then_some(replaced);
            let options = TraceOptions { is_set: true, ratio: Some(0.5), ..TraceOptions::default() };
            tracing.apply(options.complete(|_| None).unwrap(), |_| Ok(Arc::new(Willing)));

            tracing.flush().await;

            assert_eq!(tracing.counts().all_sent(), 4, "used by an old connection: {}", replaced.is_some());
        }
    }

    #[tokio::test]
    async fn an_exporter_that_has_ended_is_not_kept() {
        let tracing = sparing();

        tracing.apply(None, |_| Err("no tracer is wanted".to_owned()));
        tracing.flush().await;
        tracing.apply(
            TraceOptions { is_set: true, ..TraceOptions::default() }.complete(|_| None).unwrap(),
            |_| Ok(Arc::new(Willing)),
        );

        assert_eq!(tracing.exporters.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_parent_decides_whether_its_trace_is_sampled() {
        for (flags, sent) in [("00", 0), ("01", 4)] {
            let tracing = sparing();
            let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
            let fields = HeaderMap::from_iter([(TRACEPARENT, HeaderValue::try_from(&parent).unwrap())]);
            let parent = RemoteParent::read(&fields);

            let span = tracing.current().unwrap().begin(parent, JobTrigger::Request);
            let written = span.place().traceparent();
            span.end_job(job(false));
            tracing.flush().await;

            assert!(written.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{written}");
            assert!(written.ends_with(flags) && !written.contains("00f067aa0ba902b7"), "{written}");
            assert_eq!(tracing.counts().all_sent(), sent);
        }
    }

    #[tokio::test]
    async fn the_spans_of_guests_in_a_trace_are_bounded_in_bytes_whatever_the_number_of_jobs() {
        let tracing = sparing();
        let sampled = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let parent = RemoteParent::read(&HeaderMap::from_iter([(TRACEPARENT, sampled)]));
        let root = tracing.current().unwrap().begin(parent, JobTrigger::Request);
        let span = |id: u64| GuestSpan {
            id: SpanId::from(id),
            parent: None,
            kind: GuestSpanKind::Internal,
            name: "x".repeat(8 << 10),
            start: SystemTime::UNIX_EPOCH,
            end: SystemTime::UNIX_EPOCH,
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            status: GuestSpanStatus::Unset,
            scope: String::new(),
            scope_version: None,
            dropped: [0; 3],
        };

        for _ in 0..10 {
            let (spans, called) = (JobSpans::default(), root.place().open(JobTrigger::Call));
            spans.begin(called.place().clone(), "a".into());
            // As many as fit into the limit of a job.
            (1..=15).for_each(|id| spans.guest_ended(span(id)));
            called.end_job(job(false));
        }
        root.end_job(job(false));
        tracing.flush().await;

        let dropped = tracing.counts().all_dropped(DropReason::TraceLimit);
        assert!((22..=31).contains(&dropped), "{dropped}");
        assert_eq!(tracing.counts().all_sent(), 11 * 4 + 150 - dropped);
    }

    #[tokio::test]
    async fn the_jobs_that_a_job_has_called_are_bounded_in_bytes_and_the_caller_is_kept() {
        let tracing = sparing();
        let root = tracing.current().unwrap().begin(None, JobTrigger::Timer);
        let failure = Some(("trapped", "x".repeat(64 << 10)));

        for _ in 0..20 {
            let called = root.place().open(JobTrigger::Call);
            called.end_job(JobSpan { failure: failure.clone(), ..job(true) });
        }
        root.end_job(job(false));
        tracing.flush().await;

        // 15 of 64 KiB fit into a mebibyte. Each becomes four spans.
        assert_eq!(tracing.counts().all_dropped(DropReason::TraceLimit), 5 * 4);
        assert_eq!(tracing.counts().all_sent(), (15 + 1) * 4);
    }

    #[test]
    fn the_share_of_sampled_traces_is_the_ratio() {
        let ids: Vec<TraceId> = (0..2000).map(|_| RandomIdGenerator::default().new_trace_id()).collect();
        let sampled = |ratio| ids.iter().filter(|id| is_sampled(**id, ratio)).count();

        assert_eq!((sampled(0.0), sampled(1.0)), (0, 2000));
        assert!((400..600).contains(&sampled(0.25)), "{}", sampled(0.25));
    }
}
