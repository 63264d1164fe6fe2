//! The request fields that only the daemon may set.

use http::HeaderMap;

/// The prefix of every field that the daemon adds. Fields of the client with this prefix are dropped.
pub(super) const PREFIX: &str = "portcullis-";

/// Removes the reserved fields from those of a client.
pub(in crate::http) fn unforged(mut fields: HeaderMap) -> HeaderMap {
    let forged: Vec<_> = fields.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in forged {
        fields.remove(name);
    }
    fields
}
