//! Responses to an ACME server that validates a host by HTTP (RFC 8555 §8.3).

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response};

use super::response_body::Body;
use crate::net::Tls;

/// Answers a request for a token that waits. `None` for every other request, which is routed as usual: a handler may
/// obtain certificates of its own. Takes no lock while nothing is validated.
pub(in crate::http) fn answer(tls: &Tls, head: &Parts) -> Option<Response<Body>> {
    let content = tls.acme()?.http_response(head.uri.path())?;
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return None;
    }
    let mut response = Response::new(Body::full(content.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}
