//! The text format of Prometheus: families of samples.

use std::fmt::{Display, Write as _};

/// The text-based exposition format of Prometheus, version 0.0.4.
pub(in crate::http) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes a family: what it is, then its samples, each with its labels and its value.
pub(in crate::http) fn family<L: Display, V: Display>(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    samples: impl IntoIterator<Item = (L, V)>,
) {
    // Writing to a string cannot fail.
    let _infallible = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    for (labels, value) in samples {
        let _infallible = writeln!(text, "{name}{labels} {value}");
    }
}

/// Makes the only sample of a family.
pub(in crate::http) fn only<V>(value: V) -> [(&'static str, V); 1] {
    [("", value)]
}

/// Makes the labels of a sample with one label. The value holds no character that needs an escape.
pub(in crate::http) fn label(name: &str, value: impl Display) -> String {
    format!("{{{name}=\"{value}\"}}")
}

/// Converts a count to a sample, which is a float in this format.
#[expect(clippy::cast_precision_loss, reason = "a count above 2^53 is as good without its last digits")]
pub(in crate::http) fn float(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}
