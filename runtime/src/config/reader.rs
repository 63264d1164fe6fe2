//! Reads a TOML document key by key and reports everything that is invalid.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::{nearest, slip};
use super::report::Diagnostics;
use super::shape::Shape;

/// A value and the place where it is written.
#[derive(Clone, Debug)]
pub(super) struct Keyed<T> {
    pub(super) value: T,
    /// The full key: `route[0].path`.
    pub(super) key: String,
    pub(super) line: usize,
}

/// A value of a setting that may be text or a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Scalar {
    /// A string.
    Text(String),
    /// An integer and the base it is written in.
    Number(i128, u32),
    /// Any other value, as an error shows it.
    Other(String),
}

/// A value of a setting that is on, off or one of some words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum SwitchOrWord {
    /// `true` or `false`.
    Switch(bool),
    /// A string.
    Word(String),
    /// Any other value, as an error shows it.
    Other(String),
}

/// A table with keys that the user chose, in the order of the file.
#[derive(Debug)]
pub(super) struct NamedTable<T>(pub(super) Vec<(String, Keyed<T>)>);

/// A type that can be read from a TOML value.
pub(super) trait FromToml: Sized {
    /// Whether the value is a string, so that an error may show a list of one.
    const IS_TEXT: bool = false;

    /// The tables with fixed keys in the value.
    const SHAPE: &'static Shape = &Shape::Value;

    /// Reads a value. Returns `None` if it has another type; the error is reported.
    fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &Diagnostics<'_>) -> Option<Self>;
}

/// A table with fixed keys while it is being read.
pub(super) struct Section<'d> {
    key: String,
    /// The entries that are not read yet, in the order of the file.
    entries: Vec<TableEntry<'d>>,
    /// The keys of the table.
    shape: &'static Shape,
    report: &'d Diagnostics<'d>,
}

struct TableEntry<'d> {
    name: &'d str,
    line: usize,
    value: &'d Spanned<DeValue<'d>>,
}

impl<'d> Section<'d> {
    /// Starts to read a table. Returns `None` if the value is not a table; the error is reported.
    pub(super) fn of(
        value: &'d Spanned<DeValue<'d>>,
        key: &str,
        shape: &'static Shape,
        report: &'d Diagnostics<'d>,
    ) -> Option<Section<'d>> {
        let Some(table) = value.get_ref().as_table() else {
            let wanted = match is_list_of_tables(value) && is_header(key) {
                true => format!("a table such as [{key}]"),
                false => format!("a table with the keys {}", shape.names().collect::<Vec<_>>().join(", ")),
            };
            return wrong(value, key, &wanted, report);
        };
        Some(Section { key: key.to_owned(), entries: entries(table, report), shape, report })
    }

    /// Reads the value of a key. Returns `None` if the key is missing, or if its value has another
    /// type, which is reported.
    pub(super) fn take<T: FromToml>(&mut self, name: &'static str) -> Option<Keyed<T>> {
        let position = self.entries.iter().position(|entry| entry.name == name)?;
        let TableEntry { line, value, .. } = self.entries.remove(position);
        let key = join(&self.key, name);
        let value = T::read(value, &key, self.report)?;
        Some(Keyed { value, key, line })
    }

    /// Reports every key that was not taken.
    pub(super) fn finish(self) {
        // Only the first unknown keys get a suggestion: a table with more has another problem than
        // a typo.
        const EXPLAINED: usize = 100;
        for (position, entry) in self.entries.iter().enumerate() {
            let message = match position < EXPLAINED {
                true => format!("unknown key; {}", self.explain(entry.name)),
                false => "unknown key".to_owned(),
            };
            self.report.add(entry.line, &join(&self.key, entry.name), message);
        }
    }

    /// Says what to write instead of an unknown key. A key of another table is in the wrong place, unless it misses one
    /// of this table by a letter.
    fn explain(&self, name: &str) -> String {
        let names = || self.shape.names();
        let meant = |near: &str| format!("did you mean {near:?}?");
        instead(name)
            .or_else(|| slip(name, names()).map(meant))
            .or_else(|| self.report.advice(name, self.shape))
            .or_else(|| nearest(name, names()).map(meant))
            .unwrap_or_else(|| format!("the keys here are {}", names().collect::<Vec<_>>().join(", ")))
    }
}

impl FromToml for String {
    const IS_TEXT: bool = true;

    fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &Diagnostics<'_>) -> Option<String> {
        let text = value.get_ref().as_str().map(str::to_owned);
        text.or_else(|| wrong(value, key, "a string", report))
    }
}

impl FromToml for bool {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &Diagnostics<'_>) -> Option<bool> {
        value.get_ref().as_bool().or_else(|| wrong(value, key, "true or false", report))
    }
}

impl FromToml for SwitchOrWord {
    fn read(value: &Spanned<DeValue<'_>>, _key: &str, report: &Diagnostics<'_>) -> Option<SwitchOrWord> {
        let value = match value.get_ref() {
            DeValue::Boolean(is_on) => SwitchOrWord::Switch(*is_on),
            DeValue::String(word) => SwitchOrWord::Word(word.clone().into_owned()),
            _ => SwitchOrWord::Other(describe(value, report)),
        };
        Some(value)
    }
}

impl FromToml for Scalar {
    fn read(value: &Spanned<DeValue<'_>>, _key: &str, report: &Diagnostics<'_>) -> Option<Scalar> {
        let number =
            |digits: &str, radix| Some(Scalar::Number(i128::from_str_radix(digits, radix).ok()?, radix));
        let scalar = match value.get_ref() {
            DeValue::String(text) => Some(Scalar::Text(text.clone().into_owned())),
            DeValue::Integer(integer) => number(integer.as_str(), integer.radix()),
            _ => None,
        };
        scalar.or_else(|| Some(Scalar::Other(describe(value, report))))
    }
}

impl<T: FromToml> FromToml for Vec<Keyed<T>> {
    const SHAPE: &'static Shape = &Shape::List { each: T::SHAPE };

    /// Reads a list. Elements of another type are reported and left out.
    fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &Diagnostics<'_>) -> Option<Vec<Keyed<T>>> {
        let Some(array) = value.get_ref().as_array() else {
            let wanted = match value.get_ref() {
                DeValue::String(text) if T::IS_TEXT && text.len() <= 48 => {
                    format!("a list such as [{text:?}]")
                }
                DeValue::Table(_) if matches!(T::SHAPE, Shape::Table { .. }) && is_header(key) => {
                    format!("a list of tables such as [[{key}]]")
                }
                _ => "a list".to_owned(),
            };
            return wrong(value, key, &wanted, report);
        };
        let element = |(position, element): (usize, &Spanned<DeValue<'_>>)| {
            let key = format!("{key}[{position}]");
            let value = T::read(element, &key, report)?;
            Some(Keyed { value, line: report.line(element.span().start), key })
        };
        Some(array.iter().enumerate().filter_map(element).collect())
    }
}

impl<T: FromToml> FromToml for NamedTable<T> {
    const SHAPE: &'static Shape = &Shape::Named { each: T::SHAPE };

    /// Reads a table. Values of another type are reported and left out.
    fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &Diagnostics<'_>) -> Option<NamedTable<T>> {
        let Some(table) = value.get_ref().as_table() else {
            let name = if matches!(T::SHAPE, Shape::Table { .. }) { ".NAME" } else { "" };
            let wanted = match is_list_of_tables(value) && is_header(key) {
                true => format!("a table such as [{key}{name}]"),
                false => "a table".to_owned(),
            };
            return wrong(value, key, &wanted, report);
        };
        let named = |entry: TableEntry<'_>| {
            let key = join(key, entry.name);
            let value = T::read(entry.value, &key, report)?;
            Some((entry.name.to_owned(), Keyed { value, key, line: entry.line }))
        };
        Some(NamedTable(entries(table, report).into_iter().filter_map(named).collect()))
    }
}

/// Says what to do instead of a key that other servers have and this daemon lacks on purpose.
fn instead(name: &str) -> Option<String> {
    const HTTP3: &str =
        "the daemon does not speak HTTP/3: remove the key, and put a proxy in front that does";
    (name == "http3").then(|| HTTP3.to_owned())
}

/// Returns the entries of a table in the order of the file.
fn entries<'d>(table: &'d DeTable<'d>, report: &Diagnostics<'_>) -> Vec<TableEntry<'d>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    let entry = |(name, value): (&'d Spanned<_>, _)| {
        let text: &'d std::borrow::Cow<'d, str> = name.get_ref();
        TableEntry { name: text, line: report.line(name.span().start), value }
    };
    entries.into_iter().map(entry).collect()
}

/// Returns `true` for a value that was probably written with `[[` and `]]`.
fn is_list_of_tables(value: &Spanned<DeValue<'_>>) -> bool {
    let is_table = |element: &Spanned<DeValue<'_>>| element.get_ref().as_table().is_some();
    value.get_ref().as_array().is_some_and(|list| list.iter().any(is_table))
}

/// Returns `true` if a header can name a key: it is not that of the whole file, and not below an element of a list.
fn is_header(key: &str) -> bool {
    !key.is_empty() && !key.contains('[')
}

/// Appends a key to that of its table, quoted if TOML requires it.
fn join(table: &str, name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let dot = if table.is_empty() { "" } else { "." };
    if !name.is_empty() && name.bytes().all(bare) {
        format!("{table}{dot}{name}")
    } else {
        format!("{table}{dot}{name:?}")
    }
}

/// Reports a value of the wrong type.
pub(super) fn wrong<T>(
    value: &Spanned<DeValue<'_>>,
    key: &str,
    wanted: &str,
    report: &Diagnostics<'_>,
) -> Option<T> {
    let message = format!("wanted {wanted}, found {}", describe(value, report));
    report.add(report.line(value.span().start), key, message);
    None
}

/// Shows a value: `the integer 5`.
fn describe(value: &Spanned<DeValue<'_>>, report: &Diagnostics<'_>) -> String {
    match value.get_ref() {
        DeValue::Table(_) => "a table".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::String(text) => format!("the string {:?}", text.chars().take(48).collect::<String>()),
        other @ (DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_)) => {
            format!("the {} {}", other.type_str(), report.quote(value.span()))
        }
    }
}
