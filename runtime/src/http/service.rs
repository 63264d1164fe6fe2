//! One request, from its head to its response: the path that everything else in this layer serves.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::answer::Answering;
use super::deadline::Progress;
use super::error::Refusal;
use super::exchange::{Call, Exchange, complain};
use super::request_body;
use super::response_body::Body;
use super::server::Server;
use crate::catalog::{Catalog, Cors, Lookup, Match};
use crate::cgi::{self, Facts, Scheme, path};
use crate::job::{Destination, Fault, Job, Output, pipe};
use crate::net::{GateState, Peer};

/// Bytes a job may be ahead of its client: the default capacity of a pipe, pipe(7).
const PIPE: usize = 64 << 10;

/// What waiting for a slot may add to a job's wall time, with a second to spare.
const MARGIN: Duration = Duration::from_secs(11);

/// Answers a request. Whatever goes wrong becomes a response.
pub(super) async fn respond(
    server: &Arc<Server>,
    peer: &Peer,
    progress: &Progress,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let mut exchange = Exchange::new(progress.clone(), server.settings.deadlines.keep_alive);
    progress.answering(None);
    let (head, body) = request.into_parts();
    if server.settings.access_log {
        exchange.note(&head.method, head.uri.path_and_query().map_or("", |target| target.as_str()));
    }
    let catalog = server.engine.live().pin();
    let asked = Asked { server, peer, progress, head: &head, catalog: &catalog };
    let mut response = match asked.answer(body, &mut exchange).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(&head.headers),
    };
    if let Some(cors) = &catalog.cors {
        cors.grant(head.headers.get(ORIGIN), response.headers_mut());
    }
    exchange.answered(response.status());
    response.body_mut().exchange = Some(exchange);
    Ok(response)
}

/// A request whose head has been read.
#[derive(Clone, Copy)]
struct Asked<'a> {
    server: &'a Arc<Server>,
    peer: &'a Peer,
    progress: &'a Progress,
    head: &'a Parts,
    /// Pinned: a reload meanwhile changes nothing for this request.
    catalog: &'a Catalog,
}

impl<'a> Asked<'a> {
    /// Finds who answers, and has it answered.
    async fn answer(self, body: Incoming, exchange: &mut Exchange) -> Result<Response<Body>, Refusal> {
        let Parts { method, uri, headers, .. } = self.head;
        let most = self.server.settings.target_size;
        if uri.path_and_query().is_some_and(|target| target.as_str().len() > most) {
            return Err(Refusal::TargetTooLong(most));
        }
        let host = self.host()?;
        let path = path::decode(uri.path()).map_err(|error| Refusal::Malformed(error.to_string()))?;
        if let Some(cors) = self.catalog.cors.as_ref().filter(|_| Cors::is_preflight(method, headers)) {
            let mut response = no_content();
            cors.grant_preflight(headers.get(ORIGIN), response.headers_mut());
            return Ok(response);
        }
        match self.catalog.routes.lookup(host, method, &path) {
            Lookup::Found(found) => self.run(&found, body, exchange).await,
            Lookup::NotFound if path == "/healthz" => Ok(health(self.server.gate.state())),
            Lookup::NotFound => Err(Refusal::NoRoute),
            Lookup::MethodNotAllowed { allow } => {
                let allow = allow.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
                if method != Method::OPTIONS {
                    return Err(Refusal::WrongMethod(allow));
                }
                let mut response = no_content();
                // The names of methods are tokens, which are header values.
                response.headers_mut().extend(HeaderValue::from_str(&allow).ok().map(|allow| (ALLOW, allow)));
                Ok(response)
            }
        }
    }

    /// Makes the job of a route, runs it and gives its answer.
    async fn run(
        self,
        found: &Match<'_, '_>,
        body: Incoming,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal> {
        let entry = found.route.handler.clone();
        let engine = &self.server.engine;
        let mut job = engine.job_of(entry.clone());
        let call = Call { id: job.id, name: entry.name.clone() };
        exchange.called(call.clone());
        self.progress.answering(entry.limits.time.map(|time| time + MARGIN));

        job.args.extend(found.captures().map(|(_, value)| value.to_owned()));
        job.env = self.env(found, &job);
        let (writer, reader) = pipe(PIPE);
        let writer: Arc<dyn Destination> = Arc::new(writer);
        job.stdout = Output::to(vec![writer]);

        let failed = |fault: Fault| {
            complain(&call, &fault);
            Refusal::Failed(call.id, fault)
        };
        let idle = self.server.settings.body_idle;
        job.stdin = request_body::input(body, entry.limits.body, idle).map_err(failed)?;
        let last_words = job.last_words.clone();
        let answering = Answering { run: Some(engine.start(job)), reader, last_words };
        answering.response(&self.head.method, &entry.mapping).await.map_err(failed)
    }

    /// Makes the environment: the facts of the request, then what the handler is configured with.
    fn env(self, found: &Match<'_, '_>, job: &Job) -> crate::job::Env {
        let Parts { method, uri, version, headers, .. } = self.head;
        let facts = Facts {
            method,
            uri,
            version: *version,
            headers,
            script_name: found.script_name,
            path_info: found.path_info,
            matched_route: &found.route.pattern,
            request_id: &job.id.to_string(),
            remote_addr: self.peer.remote_addr(),
            remote_port: self.peer.remote_port(),
            server_addr: self.peer.server_addr(),
            server_port: self.peer.server_port(),
            scheme: Scheme::Http,
            api_version: found.api_version,
        };
        let captures = found.captures().map(|(capture, value)| (capture.variable.as_str(), value));
        let mut env = cgi::meta::encode(&facts, captures);
        env.extend(&job.entry.env);
        env
    }

    /// Returns the host that is asked for.
    ///
    /// # Errors
    /// RFC 9112 §3.2: HTTP/1.1 names exactly one.
    fn host(self) -> Result<Option<&'a str>, Refusal> {
        let Parts { uri, version, headers, .. } = self.head;
        let mut named = headers.get_all(HOST).iter();
        match (named.next(), named.next()) {
            (_, Some(_)) => Err(Refusal::Malformed("more than one Host field".to_owned())),
            (None, None) if *version == Version::HTTP_11 => {
                Err(Refusal::Malformed("HTTP/1.1 without a Host field".to_owned()))
            }
            // RFC 9112 §3.2.2: an absolute target goes before the field.
            (field, None) => match uri.authority() {
                Some(authority) => Ok(Some(authority.as_str())),
                None => field
                    .map(HeaderValue::to_str)
                    .transpose()
                    .map_err(|_| Refusal::Malformed("a Host field that is no text".to_owned())),
            },
        }
    }
}

/// Answers `/healthz`: whether requests are served, for those who ask by HTTP.
fn health(gate: GateState) -> Response<Body> {
    let mut response = Response::new(Body::full(format!("{gate}\n").into()));
    *response.status_mut() = match gate {
        GateState::Open => StatusCode::OK,
        GateState::Shut | GateState::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
