//! The service of clients: routes a request by the catalog, and runs the job of its handler.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{ALLOW, EXPECT, ORIGIN};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response};
use http_body::Body as _;

use super::context::{Server, Settings};
use super::outbound::cdn_loop;
use super::refusal::{Details, Refusal};
use super::request::access_line::AccessLog;
use super::request::cgi_job::{RoutedRequest, harmless};
use super::request::drain_body::DrainBody;
use super::request::logged_job::LoggedJob;
use super::request::refusal_response::ErrorFormat;
use super::request::request_body::{self, AwaitFirst, BodyLimits};
use super::request::request_log::RequestLog;
use super::request::response_body::Body;
use super::request::running_job::RunningJob;
use super::request::spool_file::SpoolSpace;
use super::request::{
    acme_challenge, compress, direct_response, error_page, gate_pass, h2_rules, health, rewrite,
};
use super::server::accept::AcceptLoop;
use super::service::{FinishedRequest, RequestContext, Service};
use super::static_files::file_response::FileRequest;
use super::upgrade::upgrade_request::UpgradeRequest;
use super::upgrade::websocket::handshake::Transport;
use crate::catalog::{
    Ballot, Catalog, Cors, Lookup, Match, ReasonHeader, RouteTarget, StaticFiles, Upgrade, VersionHeader,
};
use crate::cgi::path;
use crate::job::{HandlerVersion, Intake, Job, Kind};
use crate::net::Remote;
use crate::observe::history::History;
use crate::observe::traces::Tracer;

/// The field with the handler and version of a response, if the configuration asks for it.
const VERSION: HeaderName = HeaderName::from_static("x-portcullis-version");

/// Serves the handlers of the catalog.
struct HandlerService {
    server: Arc<Server>,
}

/// Makes the service of clients.
pub fn handlers(server: Arc<Server>) -> Arc<dyn AcceptLoop> {
    Arc::new(HandlerService { server })
}

impl Service for HandlerService {
    type Pinned = Arc<Catalog>;

    fn server(&self) -> &Arc<Server> {
        &self.server
    }

    fn pin(&self) -> Arc<Catalog> {
        self.server.engine.live().pin()
    }

    async fn answer(
        &self,
        request: RequestContext<'_, Arc<Catalog>>,
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        request.answer(body, log).await
    }

    fn access_log<'s>(&self, settings: &'s Settings) -> Option<&'s AccessLog> {
        settings.access_log.as_ref()
    }

    fn tracer<'s>(&self, settings: &'s Settings) -> Option<&'s Arc<Tracer>> {
        settings.tracer.as_ref()
    }

    fn tapped(&self) -> Option<&Arc<History>> {
        Some(self.server.engine.history()).filter(|history| history.is_tapped())
    }

    fn has_proxies(&self) -> bool {
        true
    }

    fn count(&self, code: &'static str) {
        self.server.refused.count(code);
    }

    fn details(&self, settings: &Settings) -> Details {
        settings.details
    }

    fn reason_header(&self, catalog: &Arc<Catalog>) -> ReasonHeader {
        catalog.reason_header
    }

    fn error_format(&self, catalog: &Arc<Catalog>, log: Option<&RequestLog>) -> ErrorFormat {
        ErrorFormat::of(catalog.error_pages(log.and_then(|log| log.rules.as_deref())))
    }

    fn finish(
        &self,
        catalog: &Arc<Catalog>,
        request: Option<FinishedRequest<'_>>,
        response: &mut Response<Body>,
    ) {
        if let Some(FinishedRequest { head, peer, log }) = request {
            let rules = log.rules.as_deref();
            if log.is_refused() {
                error_page::apply(catalog.error_pages(rules), response);
            }
            gate_pass::tell(log.told.as_deref(), response.headers_mut());
            if let Some(rules) = rules {
                rules.fields.apply(response.headers_mut());
                compress::apply((head, peer), &rules.compress, response);
            }
        }
        if let Some(cors) = &catalog.cors {
            // Without a head the origin is unknown, so only a grant to all origins applies.
            let origin = request.and_then(|request| request.head.headers.get(ORIGIN));
            cors.grant(origin, response.headers_mut());
        }
        if let Some(FinishedRequest { log, .. }) = request
            && catalog.version_header == VersionHeader::Present
        {
            log.version().and_then(|version| response.headers_mut().insert(VERSION, version));
        }
    }
}

/// The handler version that answers, and the ballot to report to during a trial.
type Picked<'a> = (&'a Arc<HandlerVersion>, Option<Ballot>);

impl<'a> RequestContext<'a, Arc<Catalog>> {
    /// Finds the route of the request and answers it.
    async fn answer(self, body: &mut DrainBody, log: &mut RequestLog) -> Result<Response<Body>, Refusal> {
        let Parts { method, uri, headers, .. } = self.head;
        cdn_loop::check(headers).map_err(|_| Refusal::Loop)?;
        let host = h2_rules::host(self.head);
        if uri.path() == "*" {
            return Ok(direct_response::ping());
        }
        if let Some(tls) = &self.settings.tls
            && let Some(response) = acme_challenge::answer(tls, self.head)
        {
            return Ok(response);
        }
        let path = decoded(self.head)?;
        if let Some(cors) = self.pinned.cors.as_ref().filter(|_| Cors::is_preflight(method, headers)) {
            let mut response = direct_response::no_content();
            cors.grant_preflight(headers.get(ORIGIN), response.headers_mut());
            return Ok(response);
        }
        if let Some(to) = self.settings.https.as_ref().filter(|_| self.is_in_clear() && path != "/healthz") {
            return direct_response::to_https(to, self.head);
        }
        if self.pinned.routes.has_rewrites()
            && let Lookup::Found(found) = self.pinned.routes.lookup(host, method, &path)
            && let RouteTarget::Rewrite(to) = &found.route.target
        {
            let head = rewrite::apply(to, &found, self.head, self.settings.target_size)?;
            let path = decoded(&head)?;
            let request: RequestContext<'_, Arc<Catalog>> = self;
            return Box::pin(RequestContext { head: &head, ..request }.serve(&path, body, log)).await;
        }
        self.serve(&path, body, log).await
    }

    /// Answers the request with the route of a decoded path.
    async fn serve(
        self,
        path: &str,
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        let (method, host) = (&self.head.method, h2_rules::host(self.head));
        let found = match self.pinned.routes.lookup(host, method, path) {
            Lookup::Found(found) => found,
            Lookup::NotFound if path == "/healthz" => return Ok(health::of(self.server.gate.state())),
            Lookup::NotFound => {
                log.rules = self.pinned.routes.group_of(host, path).map(|group| group.rules.clone());
                return Err(Refusal::NoRoute);
            }
            Lookup::UnsupportedVersion { route, message } => {
                log.route_found(route);
                return Err(Refusal::ApiVersion(message));
            }
            Lookup::MethodNotAllowed { route, allow } => {
                log.route_found(route);
                let allow = allow.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
                if method != Method::OPTIONS {
                    return Err(Refusal::WrongMethod(allow));
                }
                let mut response = direct_response::no_content();
                // The names of methods are tokens, which are valid values.
                response.headers_mut().extend(HeaderValue::from_str(&allow).ok().map(|allow| (ALLOW, allow)));
                return Ok(response);
            }
        };
        log.route_found(found.route);
        let evasion = self.pinned.routes.evasion(&found, host, method, path);
        evasion.map_or(Ok(()), |why| Err(Refusal::Malformed(why.to_owned())))?;
        match found.route.checks.as_deref() {
            None => self.go_on(&found, body, log).await,
            // Boxed, so that requests to routes without checks stay small.
            Some(checks) => Box::pin(self.guarded(&found, checks, body, log)).await,
        }
    }

    /// Lets the target of the route answer.
    pub(super) async fn go_on(
        self,
        found: &Match<'_, '_>,
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        match &found.route.target {
            RouteTarget::Handler(handler) => match &found.route.upgrade {
                None => self.run(found, handler, body, log).await,
                // Boxed, so that ordinary requests stay small.
                Some(upgrade) => Box::pin(self.switch(found, (handler, upgrade), body, log)).await,
            },
            RouteTarget::Redirect(redirect) => {
                self.server.direct.redirects.count();
                direct_response::redirect(redirect, found, self.head)
            }
            RouteTarget::Respond(response) => {
                self.server.direct.fixed.count();
                Ok(direct_response::fixed(response))
            }
            RouteTarget::Files(files) => Box::pin(self.file(found, files)).await,
            // A path is rewritten once, before.
            RouteTarget::Rewrite(_) => Err(Refusal::Loop),
        }
    }

    /// Answers with a file of a directory.
    async fn file(self, found: &Match<'_, '_>, files: &StaticFiles) -> Result<Response<Body>, Refusal> {
        self.server.direct.files.count();
        let descriptors = &self.server.engine.budgets().descriptors;
        let tail = found.path_info.strip_prefix('/').unwrap_or_default();
        let (is_gated, sent) = (found.route.has_gates(), self.sent);
        FileRequest { files, head: self.head, sent, tail, is_gated, descriptors }.answer().await
    }

    /// Reports whether the client came over TCP without TLS, to this daemon or to a trusted proxy.
    fn is_in_clear(self) -> bool {
        !self.peer.is_secure() && !matches!(self.peer.remote(), Remote::Unix(_))
    }

    /// Runs the job of a route and returns its response.
    async fn run(
        self,
        found: &Match<'_, '_>,
        handler: &Arc<HandlerVersion>,
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        let picked = self.pinned.pick(handler);
        if picked.0.kind == Kind::Proxy {
            // Boxed, so that requests to a CGI program stay small.
            return Box::pin(self.hand_on(found, picked, body, log)).await;
        }
        let entry = picked.0;
        harmless(found, entry)?;
        let mut job = self.cgi_job(found, picked, log);
        let (limits, ground) = (self.body_limits(entry), self.ground(entry, body));
        let intaken = request_body::input(&mut job, body.take(), limits, ground).await;
        intaken.map_err(|fault| log.job_failed(fault))?;
        let running = RunningJob::start_cgi(&self.server.engine, job);
        running.response(&self.head.method, &entry.mapping).await.map_err(|fault| log.job_failed(fault))
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
        let request = self.routed(found);
        let job = request.http_job(engine, entry);
        log.handler_chosen(LoggedJob::of(&job), request, ballot);
        let intaken = request_body::whole(body.take(), self.body_limits(entry), &job.usage).await;
        let body = intaken.map_err(|fault| log.job_failed(fault))?;
        let started = request.start_http(engine, job, body, None);
        let running = started.map_err(|error| Refusal::Malformed(format!("its host: {error}")))?;
        running.response(&self.head.method).await.map_err(|fault| log.job_failed(fault))
    }

    /// Starts the job that takes over the connection, and runs it until it reads or writes.
    async fn switch(
        self,
        found: &Match<'_, '_>,
        (handler, upgrade): (&Arc<HandlerVersion>, &Upgrade),
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        let way = if self.peer.is_secure() { Transport::Tls } else { Transport::Clear };
        let upgrade_request = UpgradeRequest::of(self.head, body, way, upgrade, self.pinned.cors.as_ref())?;
        let picked = self.pinned.pick(handler);
        let entry = picked.0;
        harmless(found, entry)?;
        let job = self.cgi_job(found, picked, log);
        let tunnel = upgrade_request.accept(&self.server.engine, job).await;
        Ok(self.pending.offer(tunnel.map_err(|fault| log.job_failed(fault))?))
    }

    /// Describes the request to the jobs that answer it.
    pub(super) fn routed<'r>(self, found: &'r Match<'r, 'r>) -> RoutedRequest<'r>
    where
        'a: 'r,
    {
        let RequestContext { pinned: catalog, head, peer, pass, span, around, .. } = self;
        RoutedRequest { catalog, found, head, peer, pass, span, around }
    }

    /// Makes the job of a CGI handler, and notes it in the log.
    fn cgi_job(self, found: &Match<'_, '_>, picked: Picked<'_>, log: &mut RequestLog) -> Job {
        let request = self.routed(found);
        let job = request.cgi_job(&self.server.engine, picked.0);
        log.handler_chosen(LoggedJob::of(&job), request, picked.1);
        log.captured(job.capture.clone());
        job
    }

    /// Returns where a body of unknown length may be stored. `None` if the length is known, or the handler
    /// reads the body as it comes.
    fn ground(self, entry: &HandlerVersion, body: &DrainBody) -> Option<SpoolSpace> {
        let is_unknown = body.look().is_some_and(|body| body.size_hint().exact().is_none());
        let ground = || SpoolSpace { scratch: self.server.scratch.clone(), client: self.peer.origin() };
        (is_unknown && entry.conduct.intake() == Intake::Whole).then(ground)
    }

    /// Returns the limits of the request body.
    pub(super) fn body_limits(self, entry: &HandlerVersion) -> BodyLimits {
        let Settings { body_idle: idle, deadlines, .. } = self.settings;
        // A client that sent `Expect` gets 100-continue when the job reads, so its body cannot be awaited
        // first.
        let is_awaited = entry.slots.are_scarce(&entry.limits) && !self.head.headers.contains_key(EXPECT);
        let before = if is_awaited { AwaitFirst::Beginning } else { AwaitFirst::Nothing };
        BodyLimits { max: entry.limits.body, idle: *idle, rate: deadlines.rate, before }
    }
}

/// Decodes the path of a request.
fn decoded(head: &Parts) -> Result<Cow<'_, str>, Refusal> {
    path::decode(head.uri.path()).map_err(|error| Refusal::Malformed(error.to_string()))
}
