//! All keys of a store, for interfaces that list them at once.

use crate::store::{KeyValue, MAX_PAGE, StoreError};

/// The most keys that are listed at once. A key has 512 bytes at most, so they have less than 6 MB.
const MAX_KEYS: usize = 10_000;

/// Returns all keys.
///
/// # Errors
/// There are too many, or the store cannot be read.
pub(super) async fn all_keys(store: &KeyValue) -> Result<Vec<String>, StoreError> {
    let mut all = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.list("", cursor.as_deref(), MAX_PAGE).await?;
        all.extend(page.keys);
        if all.len() > MAX_KEYS {
            let why =
                format!("the store has more than {MAX_KEYS} keys: list them with wasi:keyvalue, in pages");
            return Err(StoreError::Invalid(why));
        }
        if page.cursor.is_none() {
            return Ok(all);
        }
        cursor = page.cursor;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::{Durability, MAX_BATCH, StoreOptions};

    #[tokio::test]
    async fn ten_thousand_keys_are_listed_at_once_and_one_more_is_refused() {
        let options = StoreOptions {
            name: "one".to_owned(),
            url: "memory:".parse().unwrap(),
            quota: 8 << 20,
            durability: Durability::Sync,
        };
        let store = KeyValue::open(&options).await.unwrap();
        let keys: Vec<String> = (0..MAX_KEYS).map(|number| format!("{number:05}")).collect();
        for some in keys.chunks(MAX_BATCH) {
            store.set_many(some.iter().map(|key| (key.clone(), Bytes::new())).collect()).await.unwrap();
        }

        assert_eq!(all_keys(&store).await.unwrap(), keys);

        store.increment("more", 1).await.unwrap();
        assert!(
            matches!(all_keys(&store).await, Err(StoreError::Invalid(why)) if why.contains("10000 keys"))
        );
    }
}
