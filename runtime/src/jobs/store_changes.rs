//! Compares the stores of two configurations, for the replies of `plan` and `reload`.

use std::collections::BTreeMap;

use super::api::{ChangedStore, Difference};
use super::describe::absolute;
use crate::config::{Config, StoreConfig};
use crate::store::{Durability, StoreOptions};

/// Lists the stores that differ, by their names.
pub(super) fn between(old: &Config, new: &Config) -> Vec<ChangedStore> {
    let named = |config: &Config| -> BTreeMap<String, StoreConfig> {
        let whole = |store: &StoreConfig| {
            let options = StoreOptions { url: absolute(&store.options.url), ..store.options.clone() };
            (options.name.clone(), StoreConfig { options, password: store.password.clone() })
        };
        config.all_stores().into_iter().map(whole).collect()
    };
    let (old, new) = (named(old), named(new));
    let added_or_changed = new.iter().filter_map(|(name, new)| {
        let (change, what) = match old.get(name) {
            None => (Difference::Added, vec![new.options.url.to_string()]),
            Some(old) => (Difference::Changed, details(old, new)),
        };
        (!what.is_empty()).then(|| ChangedStore { name: name.clone(), change, what })
    });
    let removed = old.keys().filter(|name| !new.contains_key(*name));
    let removed = removed.map(|name| {
        let what = vec!["what it holds stays".to_owned()];
        ChangedStore { name: name.clone(), change: Difference::Removed, what }
    });
    removed.chain(added_or_changed).collect()
}

fn details(before: &StoreConfig, after: &StoreConfig) -> Vec<String> {
    let mut what = Vec::new();
    if before.password != after.password {
        let shown = |store: &StoreConfig| {
            store.password.as_ref().map_or("none".to_owned(), |source| format!("from {source}"))
        };
        what.push(format!("password {} -> {}", shown(before), shown(after)));
    }
    let (old, new): (&StoreOptions, &StoreOptions) = (&before.options, &after.options);
    if old.url != new.url {
        // Two URLs that look the same differ in their credentials.
        let (before, after) = (old.url.to_string(), new.url.to_string());
        what.push(match before == after {
            true => "credentials changed".to_owned(),
            false => format!("url {before} -> {after}: what it holds is not moved"),
        });
    }
    if old.quota != new.quota {
        what.push(format!("quota {} -> {}", old.quota, new.quota));
    }
    if old.durability != new.durability {
        let word = |durability| match durability {
            Durability::Sync => "sync",
            Durability::Relaxed => "relaxed",
        };
        let (before, after) = (word(old.durability), word(new.durability));
        what.push(format!("durability {before} -> {after} at the next start"));
    }
    what
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn every_difference_of_a_store_is_named_and_no_password_is() {
        let read = |text: &str| parse(text, std::path::Path::new("/nowhere"), "p.toml").unwrap();
        let old = "[store.a]\nurl = \"redb:a\"\n[store.gone]\nurl = \"memory:\"\n\
                   [store.b]\nurl = \"redis://x:s3cret@h/1\"\n[store.same]\nurl = \"memory:\"\n";
        let new = "[store.a]\nurl = \"redb:b\"\nquota = \"1MiB\"\ndurability = \"relaxed\"\n\
                   [store.b]\nurl = \"redis://x:0ther@h/1\"\n[store.new]\nurl = \"memory:\"\n\
                   [store.same]\nurl = \"memory:\"\n";

        let changed = between(&read(old), &read(new));

        let store = |name: &str, change, what: &[&str]| ChangedStore {
            name: name.to_owned(),
            change,
            what: what.iter().map(ToString::to_string).collect(),
        };
        let wanted = [
            store("gone", Difference::Removed, &["what it holds stays"]),
            store(
                "a",
                Difference::Changed,
                &[
                    "url redb:/nowhere/a -> redb:/nowhere/b: what it holds is not moved",
                    "quota 268435456 -> 1048576",
                    "durability sync -> relaxed at the next start",
                ],
            ),
            store("b", Difference::Changed, &["credentials changed"]),
            store("new", Difference::Added, &["memory:"]),
        ];
        assert_eq!(changed, wanted);
    }
}
