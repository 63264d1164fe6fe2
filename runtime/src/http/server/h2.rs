//! Serves an HTTP/2 connection: concurrent requests, each answered in a task of its own.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::poll_fn;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::drain;
use crate::http::context::{Accepted, Settings};
use crate::http::limits::activity::Activity;
use crate::http::request::panic::told;
use crate::http::service::{self, Service};
use crate::http::timeouts::{H2_DRAIN_GRACE, H2_FLUSH_GRACE};
use crate::http::upgrade::tunnel::PendingUpgrade;
use crate::http::wire::client_memory::estimate;
use crate::http::wire::guarded_io::GuardedIo;
use crate::http::wire::lazy_timer::LazyTimer;
use crate::http::wire::progress::Progress;
use crate::http::wire::rate::{MinRate, RateCheck, Tempo};
use crate::job::StopReason;
use crate::net::{DrainSignal, Stream};

/// Concurrent requests on one connection (RFC 9113 §6.5.2 advises no fewer).
const STREAMS: u32 = 100;

/// Bytes of one response that are buffered for the client.
const SEND_BUFFER: usize = 64 << 10;

/// Bytes that may wait for their job: of one request body, and of all those on a connection.
const STREAM_WINDOW: u32 = estimate::H2_BODY as u32;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Resets by the server that a client may provoke during a connection.
const PROVOKED_RESETS: usize = 128;

/// Resets by the client that may wait to be processed: behind a proxy, many users may cancel at one moment.
/// `wire::h2` limits their number over time.
const PENDING_RESETS: usize = 1200;

/// The requests in progress on one connection. Dropping this ends them.
struct OpenStreams {
    tasks: Mutex<JoinSet<()>>,
    /// Counts the open streams.
    open: Activity,
    /// The state of the connection.
    progress: Progress,
    /// The state of the request that hyper has just taken and is about to execute.
    taken: Mutex<Option<Progress>>,
    /// How many requests there were.
    requests: Arc<AtomicU64>,
    /// The time within which the client must take the next piece of a response.
    write_idle: Duration,
    /// The least rate at which the client must take a response.
    rate: MinRate,
}

/// The executor that hyper uses for requests. Weak, because each task holds one.
#[derive(Clone)]
struct StreamExecutor(Weak<OpenStreams>);

/// Serves a connection until its client closes it, breaks off or is idle for too long, or until it has to
/// drain: then the requests in progress are the last.
pub(in crate::http) async fn serve<S: Service>(
    accepted: Arc<Accepted<S>>,
    mut stream: Box<GuardedIo<Stream>>,
) {
    // From here on, each request has deadlines of its own.
    let progress = stream.progress().clone();
    progress.multiplexed();
    let Accepted { settings, peer, leaving, .. } = &*accepted;
    let streams = Arc::new(OpenStreams {
        tasks: Mutex::default(),
        open: Activity::default(),
        progress,
        taken: Mutex::default(),
        requests: Arc::default(),
        write_idle: settings.deadlines.write_idle,
        rate: settings.deadlines.rate,
    });
    stream.expect_frames(streams.requests.clone());
    let respond = |request| {
        let (accepted, progress) = (accepted.clone(), streams.take());
        async move {
            // Stays empty: HTTP/2 has no `Upgrade` (RFC 9113 §8.2.2).
            let pending = PendingUpgrade::default();
            service::respond(&accepted, &progress, &pending, request).await
        }
    };
    let connection = builder(&streams, settings).serve_connection(TokioIo::new(stream), service_fn(respond));
    let mut connection = pin!(connection);
    let leave = enough(&streams, settings.deadlines.keep_alive, leaving);
    // Sends GOAWAY: the requests in progress are answered, and no new ones.
    let shut = |connection: Pin<&mut http2::Connection<_, _, _>>| connection.graceful_shutdown();
    let outcome = drain::drive(connection.as_mut(), leave, shut, ceased(&streams)).await;
    if let Err(error) = outcome {
        debug!("connection from {}: {error}", peer.remote());
    }
}

/// Waits until the connection has to drain, or was without a request for this long.
async fn enough(streams: &OpenStreams, keep_alive: Duration, leaving: &DrainSignal) {
    tokio::select! {
        () = leaving.begun() => {}
        () = streams.progress.departure.room_wanted() => {}
        () = streams.open.ceased(keep_alive) => {}
    }
}

/// Waits until no request is in progress and h2 has sent the rest of the responses. For us, a stream is over
/// once h2 has taken its last piece, although the client may have no window for it yet. The client has to open
/// some from time to time, and the wait in all is no longer than the first piece might have taken.
async fn ceased(streams: &OpenStreams) {
    let OpenStreams { open, progress, write_idle, .. } = streams;
    loop {
        open.ceased(H2_DRAIN_GRACE).await;
        let left = H2_FLUSH_GRACE.saturating_sub(progress.streams.quiet());
        let left = left.min(write_idle.saturating_sub(progress.streams.over()));
        if left.is_zero() || !progress.streams.is_holding() {
            return;
        }
        sleep(left.min(H2_DRAIN_GRACE)).await;
    }
}

fn builder(streams: &Arc<OpenStreams>, settings: &Settings) -> http2::Builder<StreamExecutor> {
    let mut builder = http2::Builder::new(StreamExecutor(Arc::downgrade(streams)));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        // A head above the limit is answered by us up to twice the limit, and by h2 beyond that.
        .max_header_list_size(u32::try_from(settings.head_size * 2).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_local_error_reset_streams(PROVOKED_RESETS)
        .max_pending_accept_reset_streams(PENDING_RESETS);
    builder
}

impl OpenStreams {
    /// Notes that a request was taken, and returns its state.
    fn take(&self) -> Progress {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let progress = Progress::of_stream(&self.progress);
        *lock(&self.taken) = Some(progress.clone());
        progress
    }
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        // hyper makes the future of a request right after it has taken it, and executes nothing else.
        let Some(streams) = self.0.upgrade() else { return };
        let Some(progress) = lock(&streams.taken).take() else { return };
        let (present, under_way) = (streams.open.enter(), streams.progress.stream());
        let held = streams.progress.memory.charge(estimate::STREAM);
        let mut patience = DownloadDeadline::new(progress, &streams);
        let mut tasks = lock(&streams.tasks);
        while let Some(ended) = tasks.try_join_next() {
            told(ended);
        }
        tasks.spawn(async move {
            let (_present, _under_way, _held) = (present, under_way, held);
            let mut future = pin!(future);
            // A request that is given up is reset when its future is dropped.
            poll_fn(|context| match future.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => patience.poll(context),
            })
            .await;
        });
    }
}

/// How long the client of one request may take nothing, or too little, of the response.
struct DownloadDeadline {
    progress: Progress,
    write_idle: Duration,
    alarm: LazyTimer,
    tempo: Tempo,
    /// The piece that the client has not taken, and since when.
    untaken: Option<(u64, Instant)>,
    /// The total of the earlier waits.
    past: Duration,
}

impl DownloadDeadline {
    fn new(progress: Progress, streams: &OpenStreams) -> DownloadDeadline {
        let (alarm, tempo) = (LazyTimer::default(), Tempo::new(streams.rate));
        let write_idle = streams.write_idle;
        DownloadDeadline { progress, write_idle, alarm, tempo, untaken: None, past: Duration::ZERO }
    }

    /// Ready when the client has exceeded the limit.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let untaken = self.progress.delivery.untaken();
        if self.untaken.map(|(piece, _)| piece) != untaken {
            self.past += self.untaken.map(|(_, since)| since.elapsed()).unwrap_or_default();
            self.untaken = untaken.map(|piece| (piece, Instant::now()));
        }
        let Some((_, since)) = self.untaken else { return Poll::Pending };
        if let Some(reason) = self.progress.is_over(context) {
            self.progress.gives_up(reason);
            return Poll::Ready(());
        }
        loop {
            let waited = self.past + since.elapsed();
            let idle = since + self.write_idle;
            let due = match self.tempo.judge(waited, self.progress.delivery.handed()) {
                // The connection as a whole is held up, so it is judged as a whole.
                RateCheck::TooSlow if self.progress.is_held_up() => {
                    self.tempo.pardon(waited, self.progress.delivery.handed());
                    continue;
                }
                RateCheck::TooSlow => {
                    self.progress.gives_up(StopReason::TooSlow);
                    return Poll::Ready(());
                }
                RateCheck::Open(Some(left)) => idle.min(Instant::now() + left),
                RateCheck::Open(None) => idle,
            };
            if self.alarm.poll(due, context).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= idle {
                self.progress.gives_up(StopReason::TakesNothing);
                return Poll::Ready(());
            }
        }
    }
}

/// Locks a mutex whose value is consistent after every statement, so that poisoning is harmless.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
