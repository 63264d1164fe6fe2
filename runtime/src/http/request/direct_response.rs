//! Responses that the daemon gives by itself: redirects, fixed responses, and those about methods.

use http::header::{ALLOW, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::h2_rules;
use super::response_body::Body;
use crate::catalog::{FixedResponse, Match, NoHost, Redirect, RequestParts, Template};
use crate::http::refusal::Refusal;

/// Returns the parts of a request that a template may use.
pub(in crate::http) fn parts(head: &Parts) -> RequestParts<'_> {
    RequestParts { host: h2_rules::host(head), path: head.uri.path(), query: head.uri.query() }
}

/// Redirects a request as its route says.
///
/// # Errors
/// The URL needs a host, and the request names none.
pub(in crate::http) fn redirect(
    redirect: &Redirect,
    found: &Match<'_, '_>,
    head: &Parts,
) -> Result<Response<Body>, Refusal> {
    moved(redirect.status, found.fill(&redirect.to, parts(head)))
}

/// Redirects a request to the same URL with `https:`.
///
/// # Errors
/// As [`redirect`].
pub(in crate::http) fn to_https(to: &Template, head: &Parts) -> Result<Response<Body>, Refusal> {
    moved(StatusCode::PERMANENT_REDIRECT, to.fill(parts(head), |_| None))
}

/// Makes a redirect to a URL that was filled in.
///
/// # Errors
/// As [`redirect`].
pub(in crate::http) fn moved(
    status: StatusCode,
    to: Result<String, NoHost>,
) -> Result<Response<Body>, Refusal> {
    let to = to.map_err(|NoHost| Refusal::Malformed("no Host, which this redirect needs".to_owned()))?;
    let to = HeaderValue::try_from(to).map_err(|_| Refusal::Internal)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(LOCATION, to);
    Ok(response)
}

/// Makes a response of these parts.
pub(in crate::http) fn response<B>(status: StatusCode, fields: HeaderMap, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}

/// Makes the response that a route gives to every request.
pub(in crate::http) fn fixed(fixed: &FixedResponse) -> Response<Body> {
    let mut response = response(fixed.status, fixed.fields.clone(), Body::full(fixed.body.clone()));
    if fixed.status == StatusCode::RESET_CONTENT {
        // RFC 9110 §15.3.6.
        response.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    response
}

/// Answers `OPTIONS *`, which concerns the server as a whole (RFC 9110 §9.3.7): with the common methods. A route may have
/// others, and answers for itself.
pub(in crate::http) fn ping() -> Response<Body> {
    let mut response = no_content();
    let allow = HeaderValue::from_static("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");
    response.headers_mut().insert(ALLOW, allow);
    response
}

/// Makes a response without a body.
pub(in crate::http) fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
