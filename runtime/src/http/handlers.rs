//! The service of clients: finds the route of a request in the catalog, and lets what stands on it answer.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use http::header::{ALLOW, ORIGIN};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response};

use super::context::{Server, Settings};
use super::outbound::cdn_loop;
use super::refusal::{Details, Refusal};
use super::request::access_line::AccessLog;
use super::request::drain_body::DrainBody;
use super::request::gate_pass;
use super::request::refusal_response::ErrorFormat;
use super::request::request_log::RequestLog;
use super::request::response_body::Body;
use super::request::{acme_challenge, compress, direct_response, error_page, h2_rules, health, rewrite};
use super::server::accept::AcceptLoop;
use super::service::{FinishedRequest, RequestContext, Service};
use crate::catalog::{Catalog, Cors, Lookup, ReasonHeader, RouteTarget, VersionHeader};
use crate::cgi::path;
use crate::in_place;
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

    // Inlined: the future is made where it stays.
    #[inline]
    fn answer(
        &self,
        request: RequestContext<'_, Arc<Catalog>>,
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> impl Future<Output = Result<Response<Body>, Refusal>> + Send {
        request.answer(body, log)
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

impl RequestContext<'_, Arc<Catalog>> {
    /// Finds the route of the request and answers it.
    async fn answer(self, body: &mut DrainBody, log: &mut RequestLog) -> Result<Response<Body>, Refusal> {
        let Parts { method, uri, headers, .. } = self.head;
        cdn_loop::check(headers).map_err(|_| Refusal::Loop)?;
        // Read only if it matters: that looks for a field, and checks its value.
        let host = self.pinned.routes.has_hosts().then(|| h2_rules::host(self.head)).flatten();
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
            let max = self.settings.target_size;
            let mut head = rewrite::apply(to, &found, self.head, max)?;
            let left_out = self.pinned.routes.version_left_out(&found, host, method, &decoded(&head)?);
            if let Some(version) = left_out {
                head = rewrite::versioned(&version, &head, max)?;
            }
            let path = decoded(&head)?;
            let request: RequestContext<'_, Arc<Catalog>> = self;
            return Box::pin(RequestContext { head: &head, ..request }.serve(host, &path, body, log)).await;
        }
        self.serve(host, &path, body, log).await
    }

    /// Answers the request with the route of a host and a decoded path. The context is borrowed, because a future copies its
    /// arguments twice.
    async fn serve(
        &self,
        host: Option<&str>,
        path: &str,
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        let method = &self.head.method;
        // Not moved out: a match is large.
        let lookup = self.pinned.routes.lookup(host, method, path);
        let found = match &lookup {
            Lookup::Found(found) => found,
            Lookup::NotFound if path == "/healthz" => return Ok(health::of(self.server.gate.state())),
            Lookup::NotFound => {
                log.rules = self.pinned.routes.group_of(host, path).map(|group| group.rules.clone());
                return Err(Refusal::NoRoute);
            }
            Lookup::UnsupportedVersion { route, message } => {
                log.route_found(route);
                return Err(Refusal::ApiVersion(message.clone()));
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
        let evasion = self.pinned.routes.evasion(found, host, method, path);
        evasion.map_or(Ok(()), |why| Err(Refusal::Malformed(why.to_owned())))?;
        let passed;
        let request = match found.route.checks.as_deref() {
            None => *self,
            Some(checks) => match self.pass_at_once(found, checks, log)? {
                Some(pass) => {
                    passed = pass;
                    RequestContext { pass: &passed, ..*self }
                }
                // Boxed, so that requests without a wait stay small.
                None => return in_place::pinned(|| self.guarded(found, checks, body, log)).await,
            },
        };
        match request.answer_now(found) {
            Ok(answer) => answer,
            // Boxed for the same reason.
            Err(work) => in_place::pinned(|| request.answer_later(found, work, body, log)).await,
        }
    }

    /// Reports whether the client came over TCP without TLS, to this daemon or to a trusted proxy.
    fn is_in_clear(self) -> bool {
        !self.peer.is_secure() && !matches!(self.peer.remote(), Remote::Unix(_))
    }
}

/// Decodes the path of a request.
fn decoded(head: &Parts) -> Result<Cow<'_, str>, Refusal> {
    path::decode(head.uri.path()).map_err(|error| Refusal::Malformed(error.to_string()))
}
