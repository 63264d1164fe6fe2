//! Fields of a request that only the daemon may set.

use http::HeaderMap;

/// What starts the name of every field that the daemon adds. A client's own of that kind are dropped.
pub(super) const PREFIX: &str = "portcullis-";

/// Takes from a client's fields what only the daemon may say.
pub(in crate::http) fn unforged(mut fields: HeaderMap) -> HeaderMap {
    let forged: Vec<_> = fields.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in forged {
        fields.remove(name);
    }
    fields
}
