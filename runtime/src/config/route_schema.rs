//! `[[route]]` and `[group.NAME]` as they are written: every key, before any check of its value.

use toml::Spanned;
use toml::de::DeValue;

use super::front_schema::WrittenLimit;
use super::reader::{FromToml, Keyed, NamedTable, Scalar, Section, wrong};
use super::report::Diagnostics;
use super::shape::Shape;
use super::table::table;

table! {
    /// `[group.NAME]`: what several routes have in common.
    Group {
        /// The beginning of every path: `/api`, or `/v{version}`.
        prefix: String,
        /// The supported versions: `1.24..1.41`.
        versions: String,
        /// The host of routes without one.
        host: String,
        fields: Fields,
        errors: WrittenErrors,
        compress: Vec<Keyed<String>>,
        /// Gates and handlers that a request must pass.
        before: Vec<Keyed<String>>,
    }
}

table! {
    /// `[[route]]`.
    Route {
        path: String,
        methods: Vec<Keyed<String>>,
        host: String,
        /// The name of a `[group.NAME]`.
        group: String,
        handler: String,
        /// A URL with placeholders: `https://{host}{uri}`.
        redirect: String,
        /// The status of the redirect.
        status: Scalar,
        respond: Respond,
        r#static: Static,
        /// A path with placeholders, which is routed instead: `/new/{rest}`.
        rewrite: String,
        /// Changes to the fields of responses.
        fields: Fields,
        /// The form of error responses: `json`, or pages by status.
        errors: WrittenErrors,
        /// The content codings, the preferred first.
        compress: Vec<Keyed<String>>,
        /// The protocol that its clients upgrade to: `tcp` or `websocket`.
        upgrade: String,
        websocket: WebSocket,
        limit: WrittenLimit,
        /// Gates and handlers that a request must pass.
        before: Vec<Keyed<String>>,
    }
}

table! {
    /// `route.respond`: the same response to every request.
    Respond {
        status: Scalar,
        body: String,
        fields: NamedTable<String>,
    }
}

table! {
    /// `route.fields`: changes to the fields of responses.
    Fields {
        set: NamedTable<String>,
        add: NamedTable<String>,
        remove: Vec<Keyed<String>>,
    }
}

/// `errors`: a word, or pages by status.
#[derive(Debug)]
pub(super) enum WrittenErrors {
    Word(String),
    Pages(NamedTable<String>),
}

impl FromToml for WrittenErrors {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &Diagnostics<'_>) -> Option<WrittenErrors> {
        match value.get_ref() {
            DeValue::String(text) => Some(WrittenErrors::Word(text.clone().into_owned())),
            DeValue::Table(_) => NamedTable::read(value, key, report).map(WrittenErrors::Pages),
            _ => wrong(value, key, "\"json\", \"message\", or pages such as { 404 = \"404.html\" }", report),
        }
    }
}

table! {
    /// `route.static`: the files of a directory.
    Static {
        /// A relative path starts at the directory of this file.
        dir: String,
        /// The file that answers for a directory; empty for none.
        index: String,
        /// The file that answers for paths without a file.
        spa: String,
        /// The files that never change, as a pattern.
        immutable: String,
        /// The codings of files that lie beside the file itself.
        precompressed: Vec<Keyed<String>>,
        listing: bool,
    }
}

table! {
    /// `route.websocket`.
    WebSocket {
        /// `lines` or `frames`.
        messages: String,
        message_size: Scalar,
        protocols: Vec<Keyed<String>>,
        origins: Vec<Keyed<String>>,
        ping: Scalar,
        idle: Scalar,
    }
}
