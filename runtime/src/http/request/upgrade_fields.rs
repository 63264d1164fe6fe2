//! The fields `Connection` and `Upgrade` of a response that names another protocol.

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderName, HeaderValue};

/// The only version of the protocol (RFC 6455 §4.1).
pub(in crate::http) const WEBSOCKET_VERSION: HeaderValue = HeaderValue::from_static("13");

/// Makes the fields that name a protocol, in a 101 or in a refusal that asks for an upgrade.
pub(in crate::http) fn of(protocol: &'static str) -> [(HeaderName, HeaderValue); 2] {
    [(CONNECTION, HeaderValue::from_static("Upgrade")), (UPGRADE, HeaderValue::from_static(protocol))]
}
