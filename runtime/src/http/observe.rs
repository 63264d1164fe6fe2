//! What observers are shown: metrics and probes, and nothing that changes anything.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::caught::caught;
use super::crowd::Crowd;
use super::deadline::Progress;
use super::error::{Details, Refusal};
use super::exchange::Exchange;
use super::response_body::Body;
use super::server::{Server, Settings};
use super::unread::Unread;
use super::{date, metrics, strict, upkeep};
use crate::catalog::ReasonHeader;
use crate::net::{Gate, GateState};
use crate::observe::Reloads;
use crate::wasm::Allocation;
use crate::wasm::cache::Figures;

/// What an operator asks about.
pub struct Observed {
    /// The gate that the handlers are behind.
    pub gate: Gate,
    /// The connections to them.
    pub clients: Arc<Crowd>,
    /// How the jobs of handlers get their memory.
    pub allocation: Allocation,
    /// How the last reloads have ended.
    pub reloads: Arc<Reloads>,
    /// What is counted of the cache of compiled modules, if there is one.
    pub cache: Option<Arc<Figures>>,
}

/// Answers a request on an address of `observe`. Whatever goes wrong becomes a response.
pub(super) async fn respond(
    server: &Server,
    settings: &Settings,
    observed: &Observed,
    progress: &Progress,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let exchange = Exchange::new(progress.clone());
    progress.answering();
    let (head, body) = request.into_parts();
    let mut body = Unread::new(&head, body, progress);
    let answer = caught(async {
        strict::check(&head, settings)?;
        show(server, settings, observed, head.uri.path(), &head.method)
    });
    let mut response = match answer.await.unwrap_or_else(|words| Err(exchange.panicked(&words))) {
        Ok(response) => response,
        Err(refusal) => {
            if refusal.closes() {
                body.give_up();
            }
            refusal.into_response(&head.headers, Details::Withheld, ReasonHeader::Absent)
        }
    };
    date::stamp(response.headers_mut());
    if progress.is_leaving() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.body_mut().exchange = Some(exchange);
    Ok(response)
}

fn show(
    server: &Server,
    settings: &Settings,
    observed: &Observed,
    path: &str,
    method: &Method,
) -> Result<Response<Body>, Refusal> {
    let gate = observed.gate.state();
    let response = match path {
        "/metrics" => metrics(server, settings, observed),
        // Whether it answers at all: a process that hangs is to be killed, one that waits or drains is not.
        "/livez" => probe(true, "alive"),
        "/readyz" | "/healthz" => health(gate),
        "/startupz" => probe(gate != GateState::Shut, &gate.to_string()),
        _ => return Err(Refusal::NoRoute),
    };
    if matches!(*method, Method::GET | Method::HEAD) {
        Ok(response)
    } else {
        Err(Refusal::WrongMethod("GET, HEAD".to_owned()))
    }
}

/// Makes the page that Prometheus scrapes.
pub(super) fn metrics(server: &Server, settings: &Settings, observed: &Observed) -> Response<Body> {
    let mut text = metrics::text(&server.engine, observed.gate.state(), &server.refused);
    metrics::connections(&mut text, &observed.clients);
    metrics::budgets(&mut text, server.engine.budgets());
    metrics::sandbox(&mut text, &observed.allocation);
    observed.cache.iter().for_each(|cache| upkeep::cache(&mut text, cache));
    upkeep::reloads(&mut text, &observed.reloads.last());
    metrics::process(&mut text, &server.engine);
    if let Some(tls) = &settings.tls {
        metrics::encrypted(&mut text, &server.handshakes, tls.terms());
    }
    let mut response = Response::new(Body::full(text.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    response
}

/// Says whether requests are served.
pub(super) fn health(gate: GateState) -> Response<Body> {
    probe(gate == GateState::Open, &gate.to_string())
}

fn probe(is_well: bool, words: &str) -> Response<Body> {
    let mut response = Response::new(Body::full(format!("{words}\n").into()));
    *response.status_mut() = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
