//! The fields of a response that name another protocol.

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderName, HeaderValue};

/// The one version there is (RFC 6455 §4.1).
pub(in crate::http) const WEBSOCKET_VERSION: HeaderValue = HeaderValue::from_static("13");

/// Names a protocol in the fields of a response: one that takes it up, or one that asks for it.
pub(in crate::http) fn of(protocol: &'static str) -> [(HeaderName, HeaderValue); 2] {
    [(CONNECTION, HeaderValue::from_static("Upgrade")), (UPGRADE, HeaderValue::from_static(protocol))]
}
