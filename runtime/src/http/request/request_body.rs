//! The body of a request, as the stdin of a job or as a body for a `wasi:http` handler.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Empty};
use tokio::time::Instant;

use super::drain_body::DrainBody;
use super::read_ahead::ReadAhead;
use super::reserved_fields::unforged;
use super::spool_file::SpoolSpace;
use super::spooled_body::SpooledBody;
use crate::cgi::document;
use crate::http::wire::client_memory::MemoryAccount;
use crate::http::wire::lazy_timer::LazyTimer;
use crate::http::wire::rate::{MinRate, RateCheck, Tempo};
use crate::job::{Fault, FromClient, Input, InputLimit, Job, RequestBody, Usage, poll_client};

/// The limits of a body.
#[derive(Clone, Copy)]
pub(in crate::http) struct BodyLimits {
    /// Its size in bytes.
    pub(in crate::http) max: u64,
    /// The time between two pieces.
    pub(in crate::http) idle: Duration,
    pub(in crate::http) rate: MinRate,
    pub(in crate::http) before: AwaitFirst,
}

/// How much of a body is awaited before its job starts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum AwaitFirst {
    /// Nothing: the job starts at once and may respond early.
    Nothing,
    /// All of it, or as much as a pipe holds, because slots are scarce.
    Beginning,
}

/// Makes a request body the stdin of its job. The trailers are dropped: CGI has no place for them.
///
/// Unless the beginning is awaited, nothing is read before the job reads. This also decides whether hyper
/// answers `Expect: 100-continue`: it does so at the first read.
///
/// # Errors
/// [`Fault::InputTooLarge`] if the announced length exceeds the limit, or a fault of the beginning. With
/// `ground`, a body of unknown length is stored there until it is complete, and there may be no room for it. The job
/// is then told the length.
pub(in crate::http) async fn input(
    job: &mut Job,
    body: DrainBody,
    limits: BodyLimits,
    ground: Option<SpoolSpace>,
) -> Result<(), Fault> {
    let Some(mut arriving) = IncomingBody::new(body, limits, &job.usage)? else { return Ok(()) };
    if let Some(ground) = ground {
        // Boxed, so that requests of known length stay small.
        let (kept, length) = Box::pin(arriving.keep(ground)).await?;
        job.stdin = Input::stream(kept);
        tell_length(job, length);
        return Ok(());
    }
    if limits.before == AwaitFirst::Beginning {
        arriving.gather().await?;
    }
    job.stdin = Input::stream(arriving);
    Ok(())
}

/// Sets the job's CONTENT_LENGTH, unless the handler is configured with one.
fn tell_length(job: &mut Job, length: u64) {
    const NAME: &str = "CONTENT_LENGTH";
    if job.env.get(NAME).is_none() {
        // Digits hold no NUL.
        let _set = job.env.set(NAME, length.to_string());
    }
}

/// Passes a request body on as it is, within the same limits. Trailers that are not allowed there are removed.
///
/// # Errors
/// As [`input`].
pub(in crate::http) async fn whole(
    body: DrainBody,
    limits: BodyLimits,
    usage: &Arc<Usage>,
) -> Result<RequestBody, Fault> {
    let Some(mut arriving) = IncomingBody::new(body, limits, usage)? else { return Ok(nothing()) };
    if limits.before == AwaitFirst::Beginning {
        arriving.gather().await?;
    }
    Ok(arriving.boxed())
}

/// Makes an empty body.
pub(in crate::http) fn nothing() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// Removes from trailers the fields that belong in the checked head, and those reserved for the daemon.
fn without_forgeries(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(fields) => Frame::trailers(unforged(document::trailers(fields))),
        Err(data) => data,
    }
}

/// A body while it arrives.
struct IncomingBody {
    body: DrainBody,
    /// The memory that the connection of the body holds.
    memory: MemoryAccount,
    /// The beginning, if it was awaited before the job.
    gathered: Option<ReadAhead>,
    measure: InputLimit,
    patience: UploadDeadline,
}

/// How long the client may send nothing, or too little, of a body.
struct UploadDeadline {
    idle: Duration,
    rate: u64,
    tempo: Tempo,
    usage: Arc<Usage>,
    /// Bytes that have come.
    arrived: u64,
    /// Since when nothing came, although the job wants more.
    since: Option<Instant>,
    alarm: LazyTimer,
}

impl UploadDeadline {
    /// Waits until the client has kept its job waiting for too long.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Fault> {
        let idle = *self.since.get_or_insert_with(Instant::now) + self.idle;
        loop {
            let due = match self.tempo.judge(self.usage.waits.for_input(), self.arrived) {
                RateCheck::TooSlow => return Poll::Ready(Fault::InputSlow(self.rate)),
                RateCheck::Open(Some(left)) => idle.min(Instant::now() + left),
                RateCheck::Open(None) => idle,
            };
            ready!(self.alarm.poll(due, context));
            if Instant::now() >= idle {
                return Poll::Ready(Fault::InputIdle(self.idle));
            }
        }
    }
}

impl IncomingBody {
    /// Starts to receive a body. Returns `None` if it is empty.
    fn new(
        mut body: DrainBody,
        limits: BodyLimits,
        usage: &Arc<Usage>,
    ) -> Result<Option<IncomingBody>, Fault> {
        let BodyLimits { max, idle, rate, before: _ } = limits;
        let Some((arriving, memory)) = body.look().zip(body.memory()) else { return Ok(None) };
        let (hint, memory) = (arriving.size_hint(), memory.clone());
        if hint.lower() > max {
            body.abandon();
            return Err(Fault::InputTooLarge(max));
        }
        let (tempo, usage) = (Tempo::new(rate), usage.clone());
        usage.waits.owes_input();
        let (rate, alarm) = (rate.bytes, LazyTimer::default());
        let patience = UploadDeadline { idle, rate, tempo, usage, arrived: 0, since: None, alarm };
        let arriving = IncomingBody { body, memory, gathered: None, measure: InputLimit::new(max), patience };
        Ok(Some(arriving).filter(|_| hint.exact() != Some(0)))
    }
}

impl IncomingBody {
    /// Waits until the whole body is here, or as much of it as may be read ahead.
    ///
    /// # Errors
    /// The body broke off, is too large, or came too slowly.
    async fn gather(&mut self) -> Result<(), Fault> {
        let mut gathered = ReadAhead::begin(self.has_length(), &self.memory);
        poll_fn(|context| self.poll_gathered(&mut gathered, context)).await?;
        self.patience.usage.waits.end(FromClient::Input);
        // Time that the job waits for a slot does not count against the client.
        self.patience.since = None;
        self.gathered = Some(gathered).filter(|gathered| !gathered.is_empty());
        Ok(())
    }

    /// Reports whether the length of the body is known.
    fn has_length(&self) -> bool {
        self.body.look().is_none_or(|body| body.size_hint().exact().is_some())
    }

    /// Waits for the whole body and stores it. Returns its length as well.
    ///
    /// # Errors
    /// As [`gather`](IncomingBody::gather), and there may be no room for it.
    async fn keep(mut self, ground: SpoolSpace) -> Result<(SpooledBody, u64), Fault> {
        let usage = self.patience.usage.clone();
        let mut kept = SpooledBody::begin(&self.memory);
        loop {
            let next = poll_fn(|context| poll_client(&usage, context, |context| self.poll_arriving(context)));
            let next = tokio::select! {
                biased;
                fault = kept.evicted() => {
                    self.body.abandon();
                    return Err(fault);
                }
                next = next => next,
            };
            match next.transpose()? {
                None => break,
                Some(frame) => {
                    let added = kept.add(frame, &ground).await;
                    added.inspect_err(|_| self.body.abandon())?;
                }
            }
        }
        usage.waits.end(FromClient::Input);
        let length = kept.end().await?;
        Ok((kept, length))
    }

    /// Adds arriving frames to those read ahead. Ready when that is enough.
    fn poll_gathered(
        &mut self,
        gathered: &mut ReadAhead,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        let usage = self.patience.usage.clone();
        loop {
            match poll_client(&usage, context, |context| self.poll_arriving(context)) {
                Poll::Ready(Some(Ok(frame))) => {
                    if gathered.add(frame) {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Some(Err(fault))) => return Poll::Ready(Err(fault)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return gathered.poll_pause(context).map(Ok),
            }
        }
    }

    /// Returns the frames that come after those read ahead.
    fn poll_arriving(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = self;
        let Some(body) = this.body.body() else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(context) else {
            let fault = ready!(this.patience.poll(context));
            this.body.abandon();
            return Poll::Ready(Some(Err(fault)));
        };
        this.patience.since = None;
        this.body.read();
        let frame = match frame {
            None => return Poll::Ready(None),
            Some(Err(fault)) => return Poll::Ready(Some(Err(fault))),
            Some(Ok(frame)) => without_forgeries(frame),
        };
        let length = frame.data_ref().map_or(0, Bytes::len);
        this.patience.arrived += length as u64;
        this.patience.usage.waits.arrived(length as u64);
        this.patience.usage.receive(length as u64);
        if let Err(fault) = this.measure.take(length) {
            this.body.abandon();
            return Poll::Ready(Some(Err(fault)));
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let Some(gathered) = &mut self.gathered {
            let frame = gathered.take();
            if gathered.is_empty() {
                self.gathered = None;
            }
            if let Some(frame) = frame {
                return Poll::Ready(Some(Ok(frame)));
            }
        }
        self.poll_arriving(context)
    }

    fn is_end_stream(&self) -> bool {
        self.gathered.is_none() && self.body.look().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let arriving = self.body.look().map_or(SizeHint::with_exact(0), Body::size_hint);
        let gathered = self.gathered.as_ref().map_or(0, ReadAhead::length);
        let mut hint = SizeHint::new();
        hint.set_lower(arriving.lower().saturating_add(gathered));
        if let Some(upper) = arriving.upper() {
            hint.set_upper(upper.saturating_add(gathered));
        }
        hint
    }
}

impl Stream for IncomingBody {
    type Item = Result<Bytes, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let frame = match ready!(self.as_mut().poll_frame(context)) {
                Some(Ok(frame)) => frame,
                Some(Err(fault)) => return Poll::Ready(Some(Err(fault))),
                None => return Poll::Ready(None),
            };
            if let Some(chunk) = frame.into_data().ok().filter(|chunk| !chunk.is_empty()) {
                return Poll::Ready(Some(Ok(chunk)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;
    use crate::http::wire::progress::Progress;

    #[tokio::test]
    async fn a_body_that_was_read_ahead_as_a_whole_has_not_ended_before_it_is_read() {
        let sent: RequestBody = Full::<Bytes>::from("all of it").map_err(|never| match never {}).boxed();
        let body = DrainBody::passed(sent, &Progress::new(MemoryAccount::unlimited()));
        let rate = MinRate { bytes: 0, window: Duration::from_secs(9) };
        let limits = BodyLimits { max: 9, idle: Duration::from_secs(9), rate, before: AwaitFirst::Beginning };

        let body = whole(body, limits, &Arc::default()).await.unwrap();

        // A component without a body to read is lent none.
        assert!(!body.is_end_stream());
        assert_eq!(body.collect().await.unwrap().to_bytes(), "all of it");
    }
}
