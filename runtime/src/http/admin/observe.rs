//! Serves metrics and health probes to observers, who cannot change anything.

use std::convert::Infallible;

use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response};
use hyper::body::Incoming;

use super::{daemon_metrics, metrics};
use crate::catalog::ReasonHeader;
use crate::http::context::{Observed, Server, Settings};
use crate::http::refusal::{Details, Refusal};
use crate::http::request::access_log::RequestLog;
use crate::http::request::drain_body::DrainBody;
use crate::http::request::panic::caught;
use crate::http::request::response_body::Body;
use crate::http::request::{date, h2_rules, health};
use crate::http::wire::progress::Progress;
use crate::net::GateState;

/// Answers a request to an address of `observe`. Every failure becomes a response.
pub(in crate::http) async fn respond(
    server: &Server,
    settings: &Settings,
    observed: &Observed,
    progress: &Progress,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let log = RequestLog::new(progress.clone());
    progress.answering();
    let (head, body) = request.into_parts();
    let mut body = DrainBody::new(&head, body, progress);
    let answer = caught(async {
        h2_rules::check(&head, settings)?;
        show(server, settings, observed, head.uri.path(), &head.method)
    });
    let mut response = match answer.await.unwrap_or_else(|words| Err(log.panicked(&words))) {
        Ok(response) => response,
        Err(refusal) => {
            if refusal.closes() {
                body.abandon();
            }
            refusal.into_response(&head.headers, Details::Withheld, ReasonHeader::Absent)
        }
    };
    date::stamp(response.headers_mut());
    if progress.is_leaving() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.body_mut().log = Some(log);
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
        // Reports only that the process answers: one that hangs is to be killed, one that waits or drains
        // is not.
        "/livez" => health::answer(true, "alive"),
        "/readyz" | "/healthz" => health::of(gate),
        "/startupz" => health::answer(gate != GateState::Shut, &gate.to_string()),
        _ => return Err(Refusal::NoRoute),
    };
    if matches!(*method, Method::GET | Method::HEAD) {
        Ok(response)
    } else {
        Err(Refusal::WrongMethod("GET, HEAD".to_owned()))
    }
}

/// Makes the response with all metrics, in the format of Prometheus.
pub(in crate::http) fn metrics(server: &Server, settings: &Settings, observed: &Observed) -> Response<Body> {
    let mut text = metrics::text(&server.engine, observed.gate.state(), &server.refused);
    metrics::connections(&mut text, &observed.clients);
    metrics::budgets(&mut text, server.engine.budgets());
    metrics::sandbox(&mut text, &observed.allocation);
    observed.cache.iter().for_each(|cache| daemon_metrics::cache(&mut text, cache));
    daemon_metrics::reloads(&mut text, &observed.reloads.last());
    metrics::process(&mut text, &server.engine);
    if let Some(tls) = &settings.tls {
        metrics::encrypted(&mut text, &server.handshakes, tls.terms());
    }
    let mut response = Response::new(Body::full(text.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    response
}
