//! Responses to health checks: 200 if all is well, 503 otherwise.

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};

use super::response_body::Body;
use crate::net::GateState;

/// Answers a health check: 200 while the gate is open, 503 otherwise.
pub(in crate::http) fn of(gate: GateState) -> Response<Body> {
    answer(gate == GateState::Open, &gate.to_string())
}

/// Makes the response of one check, with a text and whether all is well.
pub(in crate::http) fn answer(is_well: bool, words: &str) -> Response<Body> {
    let mut response = Response::new(Body::full(format!("{words}\n").into()));
    *response.status_mut() = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
