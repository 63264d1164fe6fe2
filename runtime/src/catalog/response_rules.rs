//! The rules for the responses of a route: error pages, changed fields, compression.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::coding::Coding;

/// The rules for the responses of a route, in the order in which they are applied.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct ResponseRules {
    /// The pages in place of the daemon's own error responses.
    pub errors: ErrorPages,
    /// The fields that are changed.
    pub fields: FieldChanges,
    /// The codings that are offered to clients, the preferred first.
    pub compress: Vec<Coding>,
}

/// Changes to the fields of a response: removed first, then set, then added.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct FieldChanges {
    /// Fields that are removed.
    pub remove: Vec<HeaderName>,
    /// Fields that replace those of the same name. A name may have several.
    pub set: HeaderMap,
    /// Fields that are added to those of the same name.
    pub add: HeaderMap,
}

/// The form of the daemon's own error responses.
#[derive(Clone, PartialEq, Default, Debug)]
pub enum ErrorPages {
    /// Plain text, or JSON for clients that ask for it.
    #[default]
    Negotiated,
    /// JSON for every client.
    Json,
    /// JSON with a message only, for every client, as in Docker's API.
    Message,
    /// These pages by status, except for clients that ask for JSON.
    Pages(Arc<BTreeMap<StatusCode, ErrorPage>>),
}

/// A page in place of an error response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrorPage {
    /// The value of `Content-Type`.
    pub content_type: HeaderValue,
    /// The content, read when the configuration was.
    pub body: Bytes,
    /// The file.
    pub path: PathBuf,
}

impl ResponseRules {
    /// Reports whether nothing happens.
    pub fn is_empty(&self) -> bool {
        *self == ResponseRules::default()
    }
}

impl ErrorPages {
    /// Returns the page in place of an error response with this status.
    pub fn page(&self, status: StatusCode) -> Option<&ErrorPage> {
        match self {
            ErrorPages::Pages(pages) => pages.get(&status),
            ErrorPages::Negotiated | ErrorPages::Json | ErrorPages::Message => None,
        }
    }

    /// Iterates over the files of the pages.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let pages = match self {
            ErrorPages::Pages(pages) => Some(pages.values()),
            ErrorPages::Negotiated | ErrorPages::Json | ErrorPages::Message => None,
        };
        pages.into_iter().flatten().map(|page| page.path.as_path())
    }
}

/// `errors 404 502, fields +vary -server x-frame-options, compress zstd br`.
impl fmt::Display for ResponseRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = match &self.errors {
            ErrorPages::Negotiated => Vec::new(),
            ErrorPages::Json => vec!["json".to_owned()],
            ErrorPages::Message => vec!["message".to_owned()],
            ErrorPages::Pages(pages) => pages.keys().map(|status| status.as_u16().to_string()).collect(),
        };
        let FieldChanges { remove, set, add } = &self.fields;
        let removed = remove.iter().map(|name| format!("-{name}"));
        let added = add.keys().map(|name| format!("+{name}"));
        let fields = removed.chain(set.keys().map(ToString::to_string)).chain(added).collect();
        let compress = self.compress.iter().map(|coding| coding.name().to_owned()).collect();
        let parts = [("errors", errors), ("fields", fields), ("compress", compress)];
        let parts = parts.into_iter().filter(|(_, words): &(&str, Vec<String>)| !words.is_empty());
        let parts: Vec<String> = parts.map(|(key, words)| format!("{key} {}", words.join(" "))).collect();
        f.write_str(&parts.join(", "))
    }
}

/// The fields that the daemon sets itself, because they describe the connection or the message.
const OWN: [&str; 9] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl FieldChanges {
    /// Reports whether a field may be changed: it does not describe the connection or the message.
    pub fn may_change(name: &HeaderName) -> bool {
        !OWN.contains(&name.as_str())
    }

    /// Adds the changes of a route to those of its group.
    pub fn and(mut self, route: FieldChanges) -> FieldChanges {
        self.remove.extend(route.remove);
        replace(&mut self.set, &route.set);
        for (name, value) in &route.add {
            self.add.append(name, value.clone());
        }
        self
    }

    /// Changes the fields of a response.
    pub fn apply(&self, response: &mut HeaderMap) {
        for name in &self.remove {
            response.remove(name);
        }
        replace(response, &self.set);
        for (name, value) in &self.add {
            response.append(name, value.clone());
        }
    }
}

/// Puts fields in the place of those with the same name.
fn replace(fields: &mut HeaderMap, set: &HeaderMap) {
    let mut last = None;
    // The values of a name come one after another.
    for (name, value) in set {
        if last.replace(name) == Some(name) {
            fields.append(name, value.clone());
        } else {
            fields.insert(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{SERVER, SET_COOKIE, VARY};

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let value = HeaderValue::from_static;
        let one = |name: HeaderName, text: &'static str| HeaderMap::from_iter([(name, value(text))]);
        let changes = FieldChanges {
            remove: vec![SERVER, SET_COOKIE],
            set: one(SERVER, "new"),
            add: one(VARY, "Accept"),
        };
        let mut response = one(SERVER, "old");
        response.append(SET_COOKIE, value("a=1"));
        response.append(SET_COOKIE, value("b=2"));
        response.append(VARY, value("Origin"));

        changes.apply(&mut response);

        assert_eq!((&response[SERVER], response.contains_key(SET_COOKIE)), (&value("new"), false));
        assert_eq!(response.get_all(VARY).iter().collect::<Vec<_>>(), ["Origin", "Accept"]);
        assert!(ResponseRules::default().is_empty());
    }
}
