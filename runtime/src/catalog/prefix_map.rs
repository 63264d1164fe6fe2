//! A map by texts that finds those with which a path begins, and looks at no others.

use std::collections::BTreeMap;
use std::iter;

/// Values by text, in the order of the texts.
pub(super) struct PrefixMap<T>(Box<[PrefixEntry<T>]>);

struct PrefixEntry<T> {
    text: String,
    value: T,
    /// The longest other text with which this one begins.
    shorter: Option<usize>,
}

impl<T> PrefixMap<T> {
    /// Reports whether there are no texts.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the texts with which a path begins, the longest first. The number of all texts costs a binary
    /// search. Beyond that, only texts count that begin with one another.
    pub(super) fn prefixes<'m>(&'m self, path: &str) -> impl Iterator<Item = (&'m str, &'m T)> {
        // Of the texts up to the path, the last one begins with every text with which the path begins.
        let entries = &*self.0;
        let last = entries.partition_point(|entry| entry.text.as_str() <= path).checked_sub(1);
        let nested = iter::successors(last, move |at| entries[*at].shorter).map(move |at| &entries[at]);
        let found = nested.filter(move |entry| path.starts_with(entry.text.as_str()));
        found.map(|entry| (entry.text.as_str(), &entry.value))
    }
}

impl<T> From<BTreeMap<String, T>> for PrefixMap<T> {
    fn from(values: BTreeMap<String, T>) -> PrefixMap<T> {
        let mut entries: Vec<PrefixEntry<T>> = Vec::with_capacity(values.len());
        for (text, value) in values {
            let mut shorter = entries.len().checked_sub(1);
            while let Some(at) = shorter.filter(|at| !text.starts_with(entries[*at].text.as_str())) {
                shorter = entries[at].shorter;
            }
            entries.push(PrefixEntry { text, value, shorter });
        }
        PrefixMap(entries.into())
    }
}

impl<T> Default for PrefixMap<T> {
    fn default() -> PrefixMap<T> {
        PrefixMap(Box::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_path_finds_what_a_look_at_every_text_finds(
            texts in prop::collection::btree_set("[/ab]{0,5}", 0..24),
            path in "[/ab]{0,7}",
        ) {
            let map = PrefixMap::from(texts.iter().cloned().map(|text| (text, ())).collect::<BTreeMap<_, _>>());

            let found: Vec<&str> = map.prefixes(&path).map(|(text, ())| text).collect();

            let mut wanted: Vec<&str> =
                texts.iter().map(String::as_str).filter(|text| path.starts_with(text)).collect();
            wanted.sort_by_key(|text| std::cmp::Reverse(text.len()));
            prop_assert_eq!(found, wanted);
        }
    }
}
