//! One request and its response, over a new connection or an idle one from the pool.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Body as _, Incoming};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::body::{OutboundBody, Reuse};
use super::bounds::CallBounds;
use super::error::blame;
use super::pool::{ConnectionPool, PooledConnection};
use super::{cdn_loop, strict_head};
use crate::budget::Portion;
use crate::job::Usage;
use crate::job::outbound::{CallBody, OutboundError};
use crate::net::outbound::{Channel, Origin};

/// Fields about the connection, which are ours to set (RFC 9110 §7.6.1). `Trailer` is not among them: it
/// names the trailers of the request (§6.6.2), and hyper sends no others.
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The request is allowed; this sends it and receives the response.
pub(super) struct HttpCall<'a> {
    pub(super) origin: &'a Origin,
    pub(super) kept: &'a ConnectionPool,
    pub(super) trail: Option<&'a HeaderValue>,
    /// The job that pays for the CPU time.
    pub(super) usage: &'a Arc<Usage>,
    pub(super) bounds: CallBounds,
}

/// A request that got no response.
struct Unanswered {
    why: OutboundError,
    /// The request, if no byte of it was written and no byte of its body was read.
    unsent: Option<Box<Request<CallBody>>>,
}

/// Work that runs in another runtime. Dropping this aborts the work.
pub(super) struct HomeTask<T>(JoinHandle<Result<T, OutboundError>>);

impl<T> HomeTask<T> {
    pub(super) fn new(work: JoinHandle<Result<T, OutboundError>>) -> HomeTask<T> {
        HomeTask(work)
    }
}

impl<T> Future for HomeTask<T> {
    type Output = Result<T, OutboundError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(
            ended.unwrap_or_else(|_| Err(OutboundError::Ours("the daemon failed: see the log".to_owned()))),
        )
    }
}

impl<T> Drop for HomeTask<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl HttpCall<'_> {
    /// Sends the request and waits for the head of the response. `dial` makes a connection if the pool has
    /// none. Redirects are not followed.
    ///
    /// A server may close an idle connection at the moment it is used again. If no byte of the request was
    /// written, the request is sent over a new connection, whatever its method. If it was written in part,
    /// it is sent again only if its method is idempotent (RFC 9110 §9.2.2) and it has no body: a body is
    /// consumed as it is sent. Any other request fails, because the server may have acted on it.
    /// hyper-util's client draws the line in the same place, but does not send a request that was written
    /// in part again.
    pub(super) async fn run(
        &self,
        dial: impl Future<Output = Result<(Channel, Portion), OutboundError>>,
        request: Request<CallBody>,
        place: OwnedSemaphorePermit,
    ) -> Result<Response<OutboundBody>, OutboundError> {
        let mut request = self.prepare(request);
        if let Some(mut link) = self.kept.take(self.origin, self.usage).await {
            let again = repeatable(&request);
            let Unanswered { why, unsent } = match self.send(&mut link, request).await {
                Ok(response) => return self.receive(response, link, place),
                Err(unanswered) => unanswered,
            };
            request = match (unsent, again) {
                (Some(unsent), _) => *unsent,
                (None, Some(again)) if matches!(why, OutboundError::Incomplete) => again,
                (None, _) => return Err(why),
            };
        }
        let mut link =
            PooledConnection::open(dial.await?, self.usage).await.map_err(|error| blame(&error))?;
        let response = self.send(&mut link, request).await.map_err(|unanswered| unanswered.why)?;
        self.receive(response, link, place)
    }

    async fn send(
        &self,
        link: &mut PooledConnection,
        request: Request<CallBody>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let CallBounds { first_byte, whole, .. } = self.bounds;
        let deadline = (Instant::now() + first_byte).min(whole);
        link.expect_head();
        let why = match timeout_at(deadline, link.sender.try_send_request(request)).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(mut failure)) => {
                let unsent = failure.take_message().map(Box::new);
                return Err(Unanswered { why: blame(failure.error()), unsent });
            }
            Err(_) if deadline == whole => OutboundError::TimedOut,
            Err(_) => OutboundError::FirstByteTimeout,
        };
        Err(Unanswered { why, unsent: None })
    }

    fn receive(
        &self,
        response: Response<Incoming>,
        mut link: PooledConnection,
        place: OwnedSemaphorePermit,
    ) -> Result<Response<OutboundBody>, OutboundError> {
        strict_head::check(&response)?;
        if strict_head::may_be_followed(&response) {
            link.distrust();
        }
        let max = self.bounds.body;
        if response.body().size_hint().lower() > max {
            return Err(OutboundError::ResponseTooLarge(max));
        }
        let then = Reuse { link, kept: self.kept.clone(), origin: self.origin.clone() };
        Ok(response.map(|body| OutboundBody::new(body, self.bounds, then, place)))
    }

    /// Converts a job's request into the request on the wire.
    fn prepare(&self, request: Request<CallBody>) -> Request<CallBody> {
        let max = usize::try_from(self.bounds.body).unwrap_or(usize::MAX);
        let too_large = OutboundError::RequestTooLarge(self.bounds.body);
        let bounded = |body| {
            // An error that is not the body's own is the error of the limit.
            let own = move |error: Box<dyn StdError + Send + Sync>| {
                error.downcast::<OutboundError>().map_or(too_large.clone(), |own| *own)
            };
            Limited::new(body, max).map_err(own).boxed_unsync()
        };
        let mut request = request.map(bounded);
        // RFC 9112 §3.2.1: the target for a server is a path and a query; only a proxy gets a whole URL. hyper
        // writes an empty path before a query as a slash. Without a query it would write nothing.
        let target = request.uri().path_and_query().filter(|target| target.as_str() != "/").cloned();
        *request.uri_mut() = target.unwrap_or_else(|| PathAndQuery::from_static("/")).into();
        let headers = request.headers_mut();
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
        // The job's own `Host` is replaced: the server is asked for the name that was checked.
        if let Ok(host) = HeaderValue::from_str(&self.origin.authority()) {
            headers.insert(HOST, host);
        }
        headers.insert(cdn_loop::CDN_LOOP.clone(), cdn_loop::extend(self.trail));
        request
    }
}

/// Copies a request that may be sent twice. Returns `None` if it may not be, or has a body.
fn repeatable(request: &Request<CallBody>) -> Option<Request<CallBody>> {
    if !request.method().is_idempotent() || !request.body().is_end_stream() {
        return None;
    }
    let mut again = Request::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    Some(again)
}
