//! Puts configured pages in place of the daemon's own error responses.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};

use super::response_body::Body;
use crate::catalog::{ErrorPage, ErrorPages};

/// The type of error responses for clients that ask for JSON; they keep it.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Replaces the text of an error response by the page for its status, if there is one. Status and other fields stay.
pub(in crate::http) fn apply(pages: &ErrorPages, response: &mut Response<Body>) {
    let Some(ErrorPage { content_type, body, .. }) = pages.page(response.status()) else { return };
    if response.headers().get(CONTENT_TYPE) == Some(&JSON) {
        return;
    }
    response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
    *response.body_mut() = Body::full(body.clone());
}
