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
