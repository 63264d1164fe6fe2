//! One request and its response, over a new connection or one that waits.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Body as _, Incoming};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::body::{OutboundBody, Reuse};
use super::bounds::CallBounds;
use super::error::blame;
use super::pool::{ConnectionPool, PooledConnection};
use super::{cdn_loop, strict};
use crate::budget::Portion;
use crate::job::Usage;
use crate::job::outbound::{CallBody, CallError};
use crate::net::outbound::{Channel, Origin};

/// Fields about the connection, which is ours (RFC 9110 §7.6.1). `Trailer` is not among them: it says which
/// trailers of the request are to arrive (§6.6.2), and hyper sends no others.
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// An exchange that may be had.
pub(super) struct HttpCall<'a> {
    pub(super) origin: &'a Origin,
    pub(super) kept: &'a ConnectionPool,
    pub(super) trail: Option<&'a HeaderValue>,
    /// Pays for what is computed.
    pub(super) usage: &'a Arc<Usage>,
    pub(super) bounds: CallBounds,
}

/// A request that got no answer.
struct Unanswered {
    why: CallError,
    /// The request, if none of it was written and none of its body was read.
    unsent: Option<Box<Request<CallBody>>>,
}

/// Work that another runtime does, until it is dropped.
pub(super) struct HomeTask<T>(JoinHandle<Result<T, CallError>>);

impl<T> HomeTask<T> {
    pub(super) fn new(work: JoinHandle<Result<T, CallError>>) -> HomeTask<T> {
        HomeTask(work)
    }
}

impl<T> Future for HomeTask<T> {
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(
            ended.unwrap_or_else(|_| Err(CallError::Ours("the daemon failed: see the log".to_owned()))),
        )
    }
}

impl<T> Drop for HomeTask<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl HttpCall<'_> {
    /// Sends the request and waits for the head of the response; `dial` makes a connection if none
    /// waits. Follows no redirect.
    ///
    /// A server may close a connection that waits at the moment at which it is used. A request of which
    /// nothing was written is then sent over a new one, whatever it is. One that was begun is sent
    /// once more only if that does no harm and it is still there: its method is idempotent (RFC 9110
    /// §9.2.2) and it has no body, which is read as it is sent. Any other fails, as the server may
    /// have done what it asks for. hyper-util's client draws the line in the same place, but for the
    /// second attempt.
    pub(super) async fn run(
        &self,
        dial: impl Future<Output = Result<(Channel, Portion), CallError>>,
        request: Request<CallBody>,
        place: OwnedSemaphorePermit,
    ) -> Result<Response<OutboundBody>, CallError> {
        let mut request = self.prepare(request);
        if let Some(mut link) = self.kept.take(self.origin, self.usage).await {
            let again = repeatable(&request);
            let Unanswered { why, unsent } = match self.send(&mut link, request).await {
                Ok(response) => return self.receive(response, link, place),
                Err(unanswered) => unanswered,
            };
            request = match (unsent, again) {
                (Some(unsent), _) => *unsent,
                (None, Some(again)) if matches!(why, CallError::Incomplete) => again,
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
            Err(_) if deadline == whole => CallError::TimedOut,
            Err(_) => CallError::FirstByteTimeout,
        };
        Err(Unanswered { why, unsent: None })
    }

    fn receive(
        &self,
        response: Response<Incoming>,
        mut link: PooledConnection,
        place: OwnedSemaphorePermit,
    ) -> Result<Response<OutboundBody>, CallError> {
        strict::check(&response)?;
        if strict::may_be_followed(&response) {
            link.distrust();
        }
        let most = self.bounds.body;
        if response.body().size_hint().lower() > most {
            return Err(CallError::ResponseTooLarge(most));
        }
        let then = Reuse { link, kept: self.kept.clone(), origin: self.origin.clone() };
        Ok(response.map(|body| OutboundBody::new(body, self.bounds, then, place)))
    }

    /// Makes of a job's request what goes over the wire.
    fn prepare(&self, request: Request<CallBody>) -> Request<CallBody> {
        let most = usize::try_from(self.bounds.body).unwrap_or(usize::MAX);
        let too_large = CallError::RequestTooLarge(self.bounds.body);
        let bounded = |body| {
            // What is no error of the body is the one of the limit.
            let own = move |error: Box<dyn StdError + Send + Sync>| {
                error.downcast::<CallError>().map_or(too_large.clone(), |own| *own)
            };
            Limited::new(body, most).map_err(own).boxed_unsync()
        };
        let mut request = request.map(bounded);
        let target = request.uri().path_and_query().map_or("/", uri_text);
        // RFC 9112 §3.2.1: a server is asked for a path; only a proxy is asked for a URL.
        *request.uri_mut() = target.parse::<Uri>().unwrap_or_default();
        let headers = request.headers_mut();
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
        // Whatever the job calls the server: the name that was checked is the name that is asked.
        if let Ok(host) = HeaderValue::from_str(&self.origin.authority()) {
            headers.insert(HOST, host);
        }
        headers.insert(cdn_loop::CDN_LOOP, cdn_loop::extend(self.trail));
        request
    }
}

/// Makes a second one of a request that may be sent twice; none: it may not, or cannot.
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

/// Returns a path and query that starts with a slash, as it has to on the wire.
fn uri_text(target: &http::uri::PathAndQuery) -> &str {
    if target.as_str().is_empty() { "/" } else { target.as_str() }
}
