//! Reads `handler.NAME.calls`: the handlers that a handler's jobs may call.

use std::collections::HashSet;

use super::nearest::Names;
use super::reader::Keyed;
use super::report::Diagnostics;
use crate::job::Name;

/// Reads a list of grants; `handlers` are the names written in the file. An entry with an error is
/// reported and left out.
pub(super) fn read(
    list: &Keyed<Vec<Keyed<String>>>,
    handlers: &Names<'_>,
    report: &Diagnostics<'_>,
) -> Vec<Name> {
    let (mut names, mut granted) = (Vec::new(), HashSet::new());
    let advice = |_: &str| "handlers of this file can be called, built-in jobs cannot".to_owned();
    for at in &list.value {
        match report.settle(Some(at), None, |name| handlers.known(name, advice).map(Some)) {
            Some(name) if !granted.insert(name.clone()) => {
                report.add(at.line, &at.key, format!("{:?} is in this list already", name.as_str()));
            }
            read => names.extend(read),
        }
    }
    names
}
