//! Reads lists of content codings.

use super::reader::Keyed;
use super::report::Diagnostics;
use crate::catalog::Coding;

/// Reads a list of codings. Returns `None` if it is not set.
pub(super) fn codings(
    written: Option<&Keyed<Vec<Keyed<String>>>>,
    report: &Diagnostics<'_>,
) -> Option<Vec<Coding>> {
    let list = &written?.value;
    let mut codings = Vec::new();
    for at in list {
        match report.settle(Some(at), None, |name| coding(name).map(Some)) {
            Some(coding) if codings.contains(&coding) => {
                report.add(at.line, &at.key, format!("{:?} is in this list already", at.value));
            }
            read => codings.extend(read),
        }
    }
    Some(codings)
}

/// Reads the name of a content coding.
fn coding(name: &str) -> Result<Coding, String> {
    let found = Coding::ALL.into_iter().find(|coding| coding.name() == name);
    found.ok_or_else(|| format!("wanted \"zstd\", \"br\" or \"gzip\", found {name:?}"))
}
