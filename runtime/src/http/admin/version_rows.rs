//! The counters of handlers, by the labels of their samples.

use std::collections::BTreeMap;

use crate::job::VersionCounts;
use crate::observe::exposition::Labels;

/// Counters by the labels of a sample, handler and version. The same version may have been loaded
/// several times with other settings, and two samples must not have the same labels.
pub(super) type Rows<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a VersionCounts>>;

/// Sorts counters by the labels of their samples.
pub(super) fn rows<'a>(counts: impl IntoIterator<Item = &'a VersionCounts>) -> Rows<'a> {
    let mut rows = Rows::new();
    for counts in counts {
        rows.entry((counts.name.as_str(), counts.version.as_str())).or_default().push(counts);
    }
    rows
}

/// Makes the labels of a sample of a handler version.
pub(super) fn labels((handler, version): &(&str, &str)) -> Labels {
    Labels::of("handler", handler).and("version", version)
}
