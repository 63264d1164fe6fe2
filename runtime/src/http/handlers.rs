//! Answers requests with the handlers of the catalog, by its routes.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::{ALLOW, CONNECTION, EXPECT, ORIGIN};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tracing::info;

use super::context::{Server, Settings};
use super::outbound::cdn_loop;
use super::refusal::Refusal;
use super::request::access_log::{RequestLog, complain};
use super::request::cgi_job::{PreparedJob, RoutedRequest};
use super::request::drain_body::DrainBody;
use super::request::panic::caught;
use super::request::request_body::{self, AwaitFirst, BodyLimits, JobInput};
use super::request::response_body::Body;
use super::request::spooled_body::SpoolSpace;
use super::request::{date, h2_rules, health};
use super::upgrade::tunnel::PendingUpgrade;
use super::upgrade::upgrade_request::UpgradeRequest;
use super::upgrade::websocket::handshake::Transport;
use super::wire::progress::Progress;
use crate::catalog::{Ballot, Catalog, Cors, Lookup, Match, Upgrade, VersionHeader};
use crate::cgi::path;
use crate::job::{Fault, HandlerVersion, Intake, JobId, Kind, Usage};
use crate::net::Peer;

/// The field with the handler and version of a response, if the configuration asks for it.
const VERSION: HeaderName = HeaderName::from_static("x-portcullis-version");

/// Answers a request. Every failure becomes a response.
pub(super) async fn respond(
    server: &Arc<Server>,
    line: ConnContext<'_>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let ConnContext { settings, peer, progress, switched } = line;
    let mut log = RequestLog::new(progress.clone());
    progress.answering();
    let (head, body) = request.into_parts();
    let mut body = DrainBody::new(&head, body, progress);
    if settings.access_log {
        let target = head.uri.path_and_query().map_or("", |target| target.as_str());
        log.log_access(&head.method, target, peer.remote());
    }
    let catalog = server.engine.live().pin();
    let asked = RequestContext { server, settings, peer, switched, head: &head, catalog: &catalog };
    let answer = caught(asked.answer(&mut body, &mut log)).await;
    let mut response = match answer.unwrap_or_else(|words| Err(log.panicked(&words))) {
        Ok(response) => response,
        Err(refusal) => {
            server.refused(&refusal);
            log.refused(&refusal);
            if refusal.closes() {
                body.abandon();
            }
            refusal.into_response(&head.headers, settings.details, catalog.reason_header)
        }
    };
    if let Some(cors) = &catalog.cors {
        cors.grant(head.headers.get(ORIGIN), response.headers_mut());
    }
    if catalog.version_header == VersionHeader::Present {
        log.version().and_then(|version| response.headers_mut().insert(VERSION, version));
    }
    date::stamp(response.headers_mut());
    log.head_sent(response.status());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        switched.keep(log);
        return Ok(response);
    }
    // hyper does not poll an empty body, even if the job behind it goes on.
    if head.method == Method::HEAD || response.body().size_hint().exact() == Some(0) {
        log.complete();
    }
    if head.version == Version::HTTP_10 && head.method != Method::HEAD && !response.body().has_length() {
        progress.close_delimited().started();
        // The close of the connection marks the end of the body, even if the client asked to keep it open.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if progress.is_leaving() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.body_mut().log = Some(log);
    Ok(response)
}

/// A connection, as its requests see it.
#[derive(Clone, Copy)]
pub(super) struct ConnContext<'a> {
    pub(super) settings: &'a Settings,
    pub(super) peer: &'a Peer,
    pub(super) progress: &'a Progress,
    pub(super) switched: &'a PendingUpgrade,
}

/// The handler version that answers, and the ballot to report to during a trial.
type Picked<'a> = (&'a Arc<HandlerVersion>, Option<Ballot>);

/// A request with a parsed head.
#[derive(Clone, Copy)]
struct RequestContext<'a> {
    server: &'a Arc<Server>,
    settings: &'a Settings,
    peer: &'a Peer,
    switched: &'a PendingUpgrade,
    head: &'a Parts,
    /// Pinned, so that a reload meanwhile changes nothing for this request.
    catalog: &'a Arc<Catalog>,
}

impl<'a> RequestContext<'a> {
    /// Finds the route of the request and answers it.
    async fn answer(self, body: &mut DrainBody, log: &mut RequestLog) -> Result<Response<Body>, Refusal> {
        let Parts { method, uri, headers, .. } = self.head;
        h2_rules::check(self.head, self.settings)?;
        cdn_loop::check(headers).map_err(|_| Refusal::Loop)?;
        let host = h2_rules::host(self.head);
        if uri.path() == "*" {
            return Ok(ping());
        }
        let path = path::decode(uri.path()).map_err(|error| Refusal::Malformed(error.to_string()))?;
        if let Some(cors) = self.catalog.cors.as_ref().filter(|_| Cors::is_preflight(method, headers)) {
            let mut response = no_content();
            cors.grant_preflight(headers.get(ORIGIN), response.headers_mut());
            return Ok(response);
        }
        match self.catalog.routes.lookup(host, method, &path) {
            Lookup::Found(found) => match &found.route.upgrade {
                None => self.run(&found, body, log).await,
                // Boxed, so that ordinary requests stay small.
                Some(upgrade) => Box::pin(self.switch(&found, upgrade, body, log)).await,
            },
            Lookup::NotFound if path == "/healthz" => Ok(health::of(self.server.gate.state())),
            Lookup::NotFound => Err(Refusal::NoRoute),
            Lookup::MethodNotAllowed { allow } => {
                let allow = allow.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
                if method != Method::OPTIONS {
                    return Err(Refusal::WrongMethod(allow));
                }
                let mut response = no_content();
                // The names of methods are tokens, which are valid values.
                response.headers_mut().extend(HeaderValue::from_str(&allow).ok().map(|allow| (ALLOW, allow)));
                Ok(response)
            }
        }
    }

    /// Runs the job of a route and returns its response.
    async fn run(
        self,
        found: &Match<'_, '_>,
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        let picked = self.catalog.pick(&found.route.handler);
        if picked.0.kind == Kind::Proxy {
            // Boxed, so that requests to a CGI program stay small.
            return Box::pin(self.hand_on(found, picked, body, log)).await;
        }
        let entry = picked.0;
        harmless(found, entry)?;
        let mut made = self.call(found, picked, log);
        let id = made.job.id;
        let failed = |fault| failed(id, entry, fault);
        let expected = self.expected(entry, &made.job.usage);
        let ground = self.ground(entry, body);
        let intaken = request_body::input(body.take(), expected, ground).await;
        let JobInput { input: stdin, length } = intaken.map_err(|fault| unbegun(id, entry, fault))?;
        if let Some(length) = length {
            made.tell_length(length);
        }
        let answering = made.start(&self.server.engine, stdin);
        answering.response(&self.head.method, &entry.mapping).await.map_err(failed)
    }

    /// Runs the job of a `wasi:http` handler and returns its response.
    async fn hand_on(
        self,
        found: &Match<'_, '_>,
        (entry, ballot): Picked<'_>,
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        let engine = &self.server.engine;
        let asking = RoutedRequest { catalog: self.catalog, entry, found, head: self.head, peer: self.peer }
            .proxied(engine);
        let id = asking.id();
        log.handler_chosen(id, entry, asking.usage(), ballot);
        let failed = |fault| failed(id, entry, fault);
        let expected = self.expected(entry, asking.usage());
        let body =
            request_body::whole(body.take(), expected).await.map_err(|fault| unbegun(id, entry, fault))?;
        let responding = asking.start(engine, body);
        let responding = responding.map_err(|error| Refusal::Malformed(format!("its host: {error}")))?;
        responding.response(&self.head.method).await.map_err(failed)
    }

    /// Starts the job that takes over the connection, and runs it until it reads or writes.
    async fn switch(
        self,
        found: &Match<'_, '_>,
        upgrade: &Upgrade,
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        let way = if self.peer.secured().is_some() { Transport::Tls } else { Transport::Clear };
        let applicant = UpgradeRequest::of(self.head, body, way, upgrade, self.catalog.cors.as_ref())?;
        let picked = self.catalog.pick(&found.route.handler);
        let entry = picked.0;
        harmless(found, entry)?;
        let made = self.call(found, picked, log);
        let id = made.job.id;
        // After the upgrade the client owes no bytes. Its silence is bounded by the time limit of the job, and
        // every byte restarts that wait.
        let idle = entry.limits.time;
        let tunnel = applicant.accept(made, &self.server.engine, entry.limits.body, idle).await;
        Ok(self.switched.offer(tunnel.map_err(|fault| failed(id, entry, fault))?))
    }

    /// Makes the job of a route.
    fn call(self, found: &Match<'_, '_>, picked: Picked<'_>, log: &mut RequestLog) -> PreparedJob {
        let call =
            RoutedRequest { catalog: self.catalog, entry: picked.0, found, head: self.head, peer: self.peer };
        let made = call.job(&self.server.engine);
        log.handler_chosen(made.job.id, picked.0, &made.job.usage, picked.1);
        log.captured(made.job.capture.clone());
        made
    }

    /// Returns where a body of unknown length may be stored. `None` if the length is known, or the handler
    /// reads the body as it comes.
    fn ground(self, entry: &HandlerVersion, body: &DrainBody) -> Option<SpoolSpace> {
        let is_unknown = body.look().is_some_and(|body| body.size_hint().exact().is_none());
        let ground = || SpoolSpace { scratch: self.server.scratch.clone(), client: self.peer.origin() };
        (is_unknown && entry.conduct.intake() == Intake::Whole).then(ground)
    }

    /// Returns the limits of the request body.
    fn expected(self, entry: &HandlerVersion, usage: &'a Arc<Usage>) -> BodyLimits<'a> {
        let Settings { body_idle: idle, deadlines, .. } = self.settings;
        // A client that sent `Expect` gets 100-continue when the job reads, so its body cannot be awaited
        // first.
        let is_awaited = entry.slots.are_scarce(&entry.limits) && !self.head.headers.contains_key(EXPECT);
        let before = if is_awaited { AwaitFirst::Beginning } else { AwaitFirst::Nothing };
        BodyLimits { most: entry.limits.body, idle: *idle, rate: deadlines.rate, usage, before }
    }
}

/// Refuses a captured part of the path that the program would take for an option.
fn harmless(found: &Match<'_, '_>, entry: &HandlerVersion) -> Result<(), Refusal> {
    match found.option(entry) {
        None => Ok(()),
        Some(capture) => Err(Refusal::Malformed(format!(
            "the part of the path for {} begins with `-`, which a program would read as an option",
            capture.variable
        ))),
    }
}

/// Refuses a job that failed before the engine had it, and counts the failure. The engine counts those it ends.
fn unbegun(id: JobId, entry: &HandlerVersion, fault: Fault) -> Refusal {
    entry.record.count_failure(fault.code());
    if let Fault::InputBroken(_) = fault {
        // A client that leaves while it sends needs no warning to the operator.
        info!("[{id}] {} {fault} ({})", entry.name, fault.code());
        return Refusal::Failed(id, fault);
    }
    failed(id, entry, fault)
}

/// Logs a failed job, and makes the refusal for the client.
fn failed(id: JobId, entry: &HandlerVersion, fault: Fault) -> Refusal {
    complain(id, entry, &fault);
    Refusal::Failed(id, fault)
}

/// Answers `OPTIONS *`, which concerns the server as a whole (RFC 9110 §9.3.7): with all methods that routes
/// may have. A route answers for itself.
fn ping() -> Response<Body> {
    let mut response = no_content();
    let allow = HeaderValue::from_static("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");
    response.headers_mut().insert(ALLOW, allow);
    response
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
