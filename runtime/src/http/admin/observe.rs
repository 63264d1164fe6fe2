//! Serves metrics and health probes to observers, who cannot change anything.

use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use http::request::Parts;
use http::{HeaderValue, Method, Response};

use super::{
    acme_metrics, daemon_metrics, database_metrics, handler_metrics, key_set_metrics, metrics, store_metrics,
};
use crate::http::context::{Observed, Server};
use crate::http::refusal::Refusal;
use crate::http::request::health;
use crate::http::request::response_body::Body;
use crate::http::service::RequestContext;
use crate::net::{GateState, Term};
use crate::observe::exposition::{Exposition, ExpositionFormat};

/// Answers a request to an address of `observe`.
///
/// # Errors
/// There is no such page, or the method is neither GET nor HEAD.
pub(super) fn show(request: RequestContext<'_, ()>, observed: &Observed) -> Result<Response<Body>, Refusal> {
    let RequestContext { server, head, .. } = request;
    let gate = observed.gate.state();
    let response = match head.uri.path() {
        "/metrics" => metrics(server, observed, head),
        // Reports only that the process answers. A supervisor restarts a process that hangs. It leaves a process alone
        // that waits or drains.
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

/// Makes the response with all metrics, in the format that the scraper accepts.
pub(in crate::http) fn metrics(server: &Server, observed: &Observed, head: &Parts) -> Response<Body> {
    // Those in force now: a scraper keeps its connection over many reloads.
    let settings = server.settings.load();
    let mut exposed = Exposition::default();
    handler_metrics::handlers(&mut exposed, &server.engine);
    metrics::engine(&mut exposed, &server.engine, observed.gate.state(), &server.refused);
    daemon_metrics::direct(&mut exposed, &server.direct);
    metrics::connections(&mut exposed, &observed.clients);
    metrics::budgets(&mut exposed, server.engine.budgets());
    metrics::sandbox(&mut exposed, &observed.allocation);
    observed.cache.iter().for_each(|cache| daemon_metrics::cache(&mut exposed, cache));
    daemon_metrics::compilations(&mut exposed);
    daemon_metrics::reloads(&mut exposed, &observed.reloads.last());
    daemon_metrics::traces(&mut exposed, server.engine.traces());
    store_metrics::stores(&mut exposed, &server.engine);
    database_metrics::databases(&mut exposed, &server.engine);
    key_set_metrics::key_sets(&mut exposed, &settings.key_sets);
    metrics::process(&mut exposed, &server.engine);
    if let Some(tls) = &settings.tls {
        let reports = tls.acme().map(|acme| acme.reports()).unwrap_or_default();
        let obtained = reports.iter().filter_map(|report| report.term.clone());
        let terms: Vec<Term> = tls.terms().iter().cloned().chain(obtained).collect();
        metrics::encrypted(&mut exposed, &server.handshakes, &terms);
        if tls.acme().is_some() {
            acme_metrics::domains(&mut exposed, &reports);
        }
    }
    // The lines of a field are one list (RFC 9110 §5.3).
    let accept: Vec<&str> =
        head.headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok()).collect();
    let format = ExpositionFormat::accepted(&accept.join(","));
    let mut response = Response::new(Body::full(format.encode(exposed).into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}
