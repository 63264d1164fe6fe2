//! The names of stores and databases, their tables by name, and the lists of both at a handler.

use std::collections::{HashMap, HashSet};

use toml::Spanned;
use toml::de::DeValue;

use super::nearest::Names;
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

/// The longest name of a store or database. The name of a store is a part of every key on a server.
const LONGEST: usize = 64;

/// The name of the store, and of the database, that needs no table.
pub(super) const DEFAULT: &str = "default";

/// The tables of stores, or of databases, by name.
pub(super) struct SoundTables<'f, T> {
    /// `store` or `database`.
    kind: &'static str,
    /// The names of all tables, and [`DEFAULT`].
    names: Names<'f>,
    has_default: bool,
    /// The tables without mistakes, in the order of the file.
    sound: Vec<T>,
    /// The position in `sound` of each.
    places: HashMap<&'f str, usize>,
}

impl<'f, T: Clone> SoundTables<'f, T> {
    /// Notes the names of all tables. `kind` is `store` or `database`.
    pub(super) fn of<W>(kind: &'static str, written: &'f [(String, W)]) -> SoundTables<'f, T> {
        let names = Names::new(written.iter().map(|(name, _)| name.as_str()).chain([DEFAULT]));
        let has_default = written.iter().any(|(name, _)| name == DEFAULT);
        SoundTables { kind, names, has_default, sound: Vec::new(), places: HashMap::new() }
    }

    /// Adds a table without mistakes.
    pub(super) fn add(&mut self, name: &'f str, table: T) {
        self.places.insert(name, self.sound.len());
        self.sound.push(table);
    }

    /// Finds a table by its name. `embedded` stands for [`DEFAULT`] where the file has no such table.
    ///
    /// # Errors
    /// There is no such table, or it has a mistake. Those of `embedded`.
    pub(super) fn find(&self, name: &str, embedded: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        if let Some(place) = self.places.get(name) {
            return Ok(self.sound[*place].clone());
        }
        if name == DEFAULT && !self.has_default {
            return embedded();
        }
        let kind = self.kind;
        Err(match self.names.contains(name) {
            true => format!("the table [{kind}.{name}] has a mistake"),
            false => self.names.absent(kind, name, || format!("add [{kind}.{name}] with a url")),
        })
    }

    /// Returns the tables without mistakes.
    pub(super) fn into_sound(self) -> Vec<T> {
        self.sound
    }
}

/// Reads what a handler is granted, each under the handler's name for it. `find` finds it by our name. An entry with a
/// mistake is reported and left out.
pub(super) fn granted<T>(
    written: Option<&Keyed<WrittenStores>>,
    report: &Diagnostics<'_>,
    find: impl Fn(&str) -> Result<T, String>,
) -> Vec<(String, T)> {
    let (mut granted, mut known) = (Vec::new(), HashSet::new());
    let mut add = |name: &str, at: &Keyed<String>| {
        let Some(found) = report.settle(Some(at), None, |ours| find(ours).map(Some)) else { return };
        if !known.insert(name.to_owned()) {
            report.add(at.line, &at.key, format!("{name:?} is in this list already"));
            return;
        }
        granted.push((name.to_owned(), found));
    };
    match written.map(|at| &at.value) {
        None => {}
        Some(WrittenStores::List(list)) => list.iter().for_each(|at| add(&at.value, at)),
        Some(WrittenStores::Table(table)) => table.0.iter().for_each(|(name, at)| add(name, at)),
    }
    granted
}

/// Returns whether a table has a valid name; a mistake is reported at `key`.
pub(super) fn is_name(name: &str, line: usize, key: &str, report: &Diagnostics<'_>) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let is_name = !name.is_empty() && name.len() <= LONGEST && name.bytes().all(allowed);
    if !is_name {
        let message = format!("wanted a name of letters, digits, `_` and `-`, {LONGEST} at most");
        report.add(line, key, message);
    }
    is_name
}
