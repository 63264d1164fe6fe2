//! `handler.NAME.stores` and `handler.NAME.databases` as they are written.

use toml::Spanned;
use toml::de::DeValue;

use super::reader::{FromToml, Keyed, NamedTable, wrong};
use super::report::Diagnostics;

/// `handler.NAME.stores` or `handler.NAME.databases`: a list of names, or a table from the handler's names to ours.
#[derive(Debug)]
pub(super) enum WrittenStores {
    List(Vec<Keyed<String>>),
    Table(NamedTable<String>),
}

impl FromToml for WrittenStores {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &Diagnostics<'_>) -> Option<WrittenStores> {
        match value.get_ref() {
            DeValue::Array(_) => FromToml::read(value, key, report).map(WrittenStores::List),
            DeValue::Table(_) => FromToml::read(value, key, report).map(WrittenStores::Table),
            _ if key.ends_with(".databases") => {
                wrong(value, key, "a list of databases, or a table { NAME = \"DATABASE\" }", report)
            }
            _ => wrong(value, key, "a list of stores, or a table { NAME = \"STORE\" }", report),
        }
    }
}
