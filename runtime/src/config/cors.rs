//! Reads `[cors]`: what pages of other origins may do (Fetch §3.2).

use std::collections::BTreeSet;

use http::HeaderValue;

use super::reader::Keyed;
use super::report::Diagnostics;
use super::schema;
use super::values::{self, header, method, origin};
use crate::catalog::Cors;

/// The defaults are what Docker 1.2 granted.
const METHODS: &str = "GET, POST, DELETE, PUT, OPTIONS";
const HEADERS: &str = "Origin, X-Requested-With, Content-Type, Accept";

/// Reads the table.
pub(super) fn read(written: &Keyed<schema::Cors>, report: &Diagnostics<'_>) -> Cors {
    let Keyed { value: cors, key, line } = written;
    if cors.origins.is_none() {
        report.missing(*line, key, "origins", "write [\"https://app.example\"], or [\"*\"]");
    }
    let list = cors.origins.as_ref().map_or(&[][..], |origins| &origins.value);
    let all = list.iter().any(|origin| origin.value == "*");
    let origins: BTreeSet<_> = list
        .iter()
        .filter_map(|at| report.settle(Some(at), None, |text| origin(text, all && list.len() > 1).map(Some)))
        .collect();
    if let Some(at) = cors.origins.as_ref().filter(|at| list.is_empty() && !report.blames(&at.key)) {
        report.add(at.line, &at.key, "an empty list: name an origin, or leave out [cors]");
    }
    let credentials = cors.credentials.as_ref().is_some_and(|at| at.value);
    if let Some(at) = cors.credentials.as_ref().filter(|_| credentials && all) {
        // Fetch §3.2.5: browsers refuse the combination.
        report.add(at.line, &at.key, "credentials need named origins: \"*\" never grants them");
    }
    Cors {
        origins: if all { BTreeSet::new() } else { origins },
        methods: joined(cors.methods.as_ref(), METHODS, report, |text| method(text).map(|_| ())),
        headers: joined(cors.headers.as_ref(), HEADERS, report, header),
        max_age: report.settle(cors.max_age.as_ref(), None, |written| {
            values::duration(written).map(|age| Some(HeaderValue::from(age.as_secs())))
        }),
        credentials,
    }
}

/// Joins a list into a field value.
fn joined(
    written: Option<&Keyed<Vec<Keyed<String>>>>,
    default: &'static str,
    report: &Diagnostics<'_>,
    check: impl Fn(&str) -> Result<(), String>,
) -> HeaderValue {
    let default = HeaderValue::from_static(default);
    let Some(list) = written else { return default };
    let sound = |at: &&Keyed<String>| report.settle(Some(*at), false, |text| check(text).map(|()| true));
    let words: Vec<_> = list.value.iter().filter(sound).map(|at| at.value.as_str()).collect();
    HeaderValue::try_from(words.join(", ")).unwrap_or(default)
}
