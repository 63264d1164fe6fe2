//! `[traces]` as it is written.

use toml::Spanned;
use toml::de::DeValue;

use super::reader::{FromToml, Keyed, Section, wrong};
use super::report::Diagnostics;
use super::shape::Shape;
use super::table::table;

table! {
    /// `[traces]`: where spans go, and which.
    WrittenTraces {
        /// The URL of the collector.
        endpoint: String,
        /// The share of new traces that are sampled: a number from 0 to 1.
        ratio: WrittenRatio,
        /// Whose `traceparent` is believed: `trusted_proxies`, `everybody` or `nobody`.
        trust: String,
    }
}

/// A number that may have a fraction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct WrittenRatio(pub(super) f64);

impl FromToml for WrittenRatio {
    fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &Diagnostics<'_>) -> Option<WrittenRatio> {
        let number = match value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse().ok(),
            _ => None,
        };
        number.map(WrittenRatio).or_else(|| wrong(value, key, "a number such as 0.1", report))
    }
}
