//! `handler.NAME.schedule` as it is written.

use toml::Spanned;
use toml::de::DeValue;

use super::reader::{FromToml, Keyed, Section, wrong};
use super::report::Diagnostics;
use super::shape::Shape;
use super::table::table;

table! {
    /// `handler.NAME.schedule`, as a table.
    Schedule {
        /// An expression of cron(8).
        cron: String,
        args: Vec<Keyed<String>>,
        stdin: String,
        /// Whether a run may start while the previous run goes on.
        overlap: bool,
    }
}

/// `handler.NAME.schedule`: a cron expression, or a table with more keys.
#[derive(Debug)]
pub(super) enum Scheduled {
    Cron(String),
    Table(Schedule),
}

impl FromToml for Scheduled {
    const SHAPE: &'static Shape = Schedule::SHAPE;

    fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &Diagnostics<'_>) -> Option<Scheduled> {
        match value.get_ref() {
            DeValue::String(text) => Some(Scheduled::Cron(text.clone().into_owned())),
            DeValue::Table(_) => Schedule::read(value, key, report).map(Scheduled::Table),
            _ => wrong(value, key, "a string such as \"*/5 * * * *\", or a table", report),
        }
    }
}
