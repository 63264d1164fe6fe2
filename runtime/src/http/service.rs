//! The `Service` trait between a connection and the code that answers its requests, and `respond`, which calls it.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use super::context::{Accepted, Server, Settings};
use super::limits::party::Party;
use super::refusal::{Details, Refusal};
use super::request::access_line::{AccessLog, LoggedRequest};
use super::request::drain_body::DrainBody;
use super::request::gate_pass::{self, GatePass};
use super::request::panic::{caught, caught_call};
use super::request::refusal_response::ErrorFormat;
use super::request::request_log::RequestLog;
use super::request::response_body::Body;
use super::request::{client_address, date, h2_rules, request_trace};
use super::upgrade::tunnel::PendingUpgrade;
use super::wire::client_memory::estimate;
use super::wire::progress::Progress;
use crate::catalog::ReasonHeader;
use crate::in_place;
use crate::job::HandlerVersion;
use crate::net::Peer;
use crate::observe::history::History;
use crate::observe::traces::{SpanRef, Tracer};

/// Answers the requests of a listener.
///
/// The server is generic over it, so requests cost no dynamic call.
pub(super) trait Service: Send + Sync + 'static {
    /// What a request keeps from its head to its response, regardless of reloads.
    type Pinned: Send + Sync;

    /// Returns the state that all services share.
    fn server(&self) -> &Arc<Server>;

    /// Reports whether its listeners use TLS if the configuration enables it.
    fn takes_tls(&self) -> bool {
        true
    }

    /// Reports whether trusted proxies may stand in front of it. The clients of the admin socket are who the kernel says,
    /// so it has no proxies.
    fn has_proxies(&self) -> bool {
        false
    }

    /// Returns the party that a connection counts for. `origin` is the address that it counts for, if any.
    fn party(&self, _peer: &Peer, origin: Option<IpAddr>) -> Party {
        Party::of(origin)
    }

    /// Pins the state that a request keeps.
    fn pin(&self) -> Self::Pinned;

    /// Answers a request whose head was checked.
    ///
    /// # Errors
    /// The request is refused, or its job gave no response.
    fn answer(
        &self,
        request: RequestContext<'_, Self::Pinned>,
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> impl Future<Output = Result<Response<Body>, Refusal>> + Send;

    /// Returns how its requests are logged, or `None` if they have no line in the access log.
    fn access_log<'s>(&self, _settings: &'s Settings) -> Option<&'s AccessLog> {
        None
    }

    /// Returns what traces its requests, or `None` if they are not traced.
    fn tracer<'s>(&self, _settings: &'s Settings) -> Option<&'s Arc<Tracer>> {
        None
    }

    /// Returns the history if somebody listens to the ends of its requests.
    fn tapped(&self) -> Option<&Arc<History>> {
        None
    }

    /// Counts a refusal by its code.
    fn count(&self, _code: &'static str) {}

    /// Logs a refusal that has no line in the access log.
    fn log_refusal(&self, _asked: fmt::Arguments<'_>, _peer: &Peer) {}

    /// Returns whether clients may see details meant for the operator.
    fn details(&self, _settings: &Settings) -> Details {
        Details::Withheld
    }

    /// Returns whether a refusal names its code in a field.
    fn reason_header(&self, _pinned: &Self::Pinned) -> ReasonHeader {
        ReasonHeader::Absent
    }

    /// Returns the form of error responses. `log` is `None` if no head was read.
    fn error_format(&self, _pinned: &Self::Pinned, _log: Option<&RequestLog>) -> ErrorFormat {
        ErrorFormat::Negotiated
    }

    /// Adds the fields that every response has, refusals included. `request` is `None` if no head was read.
    fn finish(
        &self,
        _pinned: &Self::Pinned,
        _request: Option<FinishedRequest<'_>>,
        _response: &mut Response<Body>,
    ) {
    }

    /// Counts a refusal, but not the failure of a job, which is counted with its handler.
    fn count_refusal(&self, refusal: &Refusal) {
        if !matches!(refusal, Refusal::Failed(..)) {
            self.count(refusal.code());
        }
    }
}

/// A request whose response is made.
#[derive(Clone, Copy)]
pub(super) struct FinishedRequest<'a> {
    pub(super) head: &'a Parts,
    pub(super) peer: &'a Peer,
    pub(super) log: &'a RequestLog,
}

/// A request whose head has been read.
pub(super) struct RequestContext<'a, P> {
    pub(super) settings: &'a Settings,
    pub(super) peer: &'a Peer,
    pub(super) pending: &'a PendingUpgrade,
    pub(super) head: &'a Parts,
    /// The head as the client sent it, before a rewrite.
    pub(super) sent: &'a Parts,
    pub(super) server: &'a Arc<Server>,
    pub(super) pinned: &'a P,
    /// What the gates of the route have told; nothing before they were asked.
    pub(super) pass: &'a GatePass,
    /// The span of the request, if it is traced.
    pub(super) span: Option<&'a SpanRef>,
    /// The middlewares that wait for the answer, outermost first.
    pub(super) around: &'a [Arc<HandlerVersion>],
}

impl<P> Clone for RequestContext<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for RequestContext<'_, P> {}

/// Answers a request. Every error becomes a response.
pub(super) async fn respond<S: Service>(
    accepted: &Accepted<S>,
    progress: &Progress,
    pending: &PendingUpgrade,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let Accepted { service, settings, peer, .. } = accepted;
    let mut log = in_place::boxed(|| RequestLog::new(progress.clone()));
    progress.answering();
    let (mut head, body) = request.into_parts();
    let mut body = DrainBody::new(&head, body, progress);
    let trusted = settings.trusted_proxies.as_deref().filter(|_| service.has_proxies());
    let forwarded = trusted.map(|trusted| client_address::forwarded(trusted, peer, &mut head)).transpose();
    let client = forwarded.as_ref().ok().and_then(|told| told.as_ref()?.as_ref());
    let (peer, unclear) = (client.unwrap_or(peer), forwarded.as_ref().err());
    if let Some(access_log) = service.access_log(settings) {
        log.log_access(LoggedRequest::of(&head, peer.remote(), access_log));
    }
    if let Some(history) = service.tapped() {
        log.tapped(&head, peer, history);
    }
    let span = service.tracer(settings).map(|tracer| {
        let span = request_trace::begin(tracer, &mut head, &accepted.peer, trusted);
        let place = span.place().clone();
        log.traced(span, &head, peer);
        place
    });
    let pinned = service.pin();
    let request = RequestContext {
        settings,
        peer,
        pending,
        head: &head,
        sent: &head,
        server: service.server(),
        pinned: &pinned,
        pass: &gate_pass::UNASKED,
        span: span.as_ref(),
        around: &[],
    };
    // The answer is written to where it stays. As the result of the future it would be copied by each layer around it.
    let mut answer = Err(Refusal::Internal);
    // What the future held is dropped here, before the response is finished.
    let ended = caught(pin!(async {
        let checked = match unclear {
            Some(unclear) => Err(Refusal::Malformed(unclear.to_string())),
            None => h2_rules::check(&head, settings.head_limits(peer)),
        };
        answer = match checked {
            Ok(size) => {
                let _large_head = (size > estimate::COVERED).then(|| progress.memory.charge(2 * size));
                service.answer(request, &mut body, &mut log).await
            }
            Err(refusal) => Err(refusal),
        };
    }))
    .await;
    if let Err(words) = ended {
        answer = Err(log.panicked(&words));
    }
    let mut response = match answer {
        Ok(response) => response,
        Err(refusal) => refused(&**service, request, refusal, &mut body, &mut log),
    };
    let finished = FinishedRequest { head: &head, peer, log: &log };
    let finishing = caught_call(|| {
        service.finish(&pinned, Some(finished), &mut response);
        date::stamp(response.headers_mut());
    });
    if let Err(words) = finishing {
        // The refusal stays without what `finish` adds, which may be more than a head can hold.
        let refusal = log.panicked(&words);
        response = refused(&**service, request, refusal, &mut body, &mut log);
        date::stamp(response.headers_mut());
    }
    log.head_sent(response.status());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        pending.keep(log);
        return Ok(response);
    }
    withhold_body(&head, &mut response);
    // hyper does not ask for an empty body, though the job behind it may go on.
    if head.method == Method::HEAD || response.body().size_hint().exact() == Some(0) {
        log.complete();
    }
    announce_close(&head, progress, &mut response);
    response.body_mut().answer(log, progress);
    Ok(response)
}

/// Takes the body out of a response to HEAD over HTTP/2, and announces its length. hyper does this over HTTP/1 alone, and a
/// body would be a stream error for the client (RFC 9113 §8.1.1).
fn withhold_body(head: &Parts, response: &mut Response<Body>) {
    let is_sent = head.method != Method::HEAD || head.version != Version::HTTP_2;
    if is_sent || response.body().is_end_stream() {
        return;
    }
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    *response.body_mut() = Body::empty();
}

/// Tells the client if the connection closes after the response: because that ends the body, or because connections leave.
fn announce_close(head: &Parts, progress: &Progress, response: &mut Response<Body>) {
    // HTTP/1.0 has no chunks, whatever the client asked for.
    let ends_body =
        head.version == Version::HTTP_10 && head.method != Method::HEAD && !response.body().has_length();
    if ends_body {
        progress.close_delimited.writer().started();
    }
    if ends_body || progress.departure.is_leaving() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Counts a refusal, and makes the response that says why.
fn refused<S: Service>(
    service: &S,
    request: RequestContext<'_, S::Pinned>,
    refusal: Refusal,
    body: &mut DrainBody,
    log: &mut RequestLog,
) -> Response<Body> {
    let RequestContext { settings, peer, head, pinned, .. } = request;
    service.count_refusal(&refusal);
    let target = settings.mask_query.shown(&head.uri);
    service.log_refusal(format_args!("{} {target}", head.method), peer);
    log.refused(&refusal);
    if refusal.closes() {
        body.abandon();
    }
    let format = service.error_format(pinned, Some(&*log));
    let (details, reason) = (service.details(settings), service.reason_header(pinned));
    refusal.into_response(&head.headers, details, reason, format)
}
