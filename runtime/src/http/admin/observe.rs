//! Serves metrics and health probes to observers, who cannot change anything.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response};

use super::{daemon_metrics, exposition, metrics, store_metrics};
use crate::http::context::{Observed, Server, Settings};
use crate::http::refusal::Refusal;
use crate::http::request::health;
use crate::http::request::response_body::Body;
use crate::http::service::RequestContext;
use crate::net::GateState;

/// Answers a request to an address of `observe`.
///
/// # Errors
/// There is no such page, or the method is neither GET nor HEAD.
pub(super) fn show(request: RequestContext<'_, ()>, observed: &Observed) -> Result<Response<Body>, Refusal> {
    let RequestContext { server, settings, head, .. } = request;
    let gate = observed.gate.state();
    let response = match head.uri.path() {
        "/metrics" => metrics(server, settings, observed),
        // Reports only that the process answers. A supervisor restarts a process that hangs, but not one that waits or
        // drains.
        "/livez" => health::answer(true, "alive"),
        "/readyz" | "/healthz" => health::of(gate),
        "/startupz" => health::answer(gate != GateState::Shut, &gate.to_string()),
        _ => return Err(Refusal::NoRoute),
    };
    if matches!(head.method, Method::GET | Method::HEAD) {
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
    store_metrics::stores(&mut text, &server.engine);
    metrics::process(&mut text, &server.engine);
    if let Some(tls) = &settings.tls {
        metrics::encrypted(&mut text, &server.handshakes, tls.terms());
    }
    let mut response = Response::new(Body::full(text.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(exposition::CONTENT_TYPE));
    response
}
