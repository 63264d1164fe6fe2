//! The files of the dashboard as responses, and what its reader may do.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use serde_json::json;

use crate::access::OperatorRights;
use crate::dashboard;
use crate::http::request::response_body::Body;

/// The path of the page. Its files are below.
pub(in crate::http) const ROOT: &str = "/dashboard/";

/// The path that tells what the client may do.
pub(in crate::http) const ACCESS: &str = "/dashboard/access";

/// Scripts and styles are files of this origin, and nothing else is loaded. A text of a guest can therefore run nothing,
/// even if the page had a flaw.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'";

/// Returns the file at a path below [`ROOT`]; the page itself at [`ROOT`].
pub(in crate::http) fn file(path: &str) -> Option<Response<Body>> {
    let name = path.strip_prefix(ROOT)?;
    let asset = dashboard::asset(if name.is_empty() { dashboard::PAGE } else { name })?;
    Some(respond(asset.content_type, Bytes::from_static(asset.text.as_bytes())))
}

/// Tells what the client may do, and whether there is a profiler.
pub(in crate::http) fn access(rights: OperatorRights, profiler: bool) -> Response<Body> {
    let access = json!({ "changes": rights == OperatorRights::All, "profiler": profiler });
    respond("application/json", Bytes::from(format!("{access}\n")))
}

/// Sets the fields that protect a response of the dashboard.
pub(in crate::http) fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        // The page changes with the daemon, and its figures are for its reader alone.
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn respond(content_type: &'static str, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::full(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    protect(response.headers_mut());
    response
}
