//! Key-value stores, which a handler is granted by `stores` in its table.
//!
//! ```
//! use portcullis_guest::{Error, Request, Response, store};
//!
//! fn count(_request: &Request) -> Result<Response, Error> {
//!     let hits = store::open("default")?.increment("hits/home", 1)?;
//!     Ok(Response::text(format!("{hits}\n")))
//! }
//!
//! // Outside of the daemon, each thread has stores of its own, in memory: a test starts with empty ones.
//! assert_eq!(count(&Request::test("GET", "/")).unwrap().into_bytes(), b"1\n");
//! assert_eq!(count(&Request::test("GET", "/")).unwrap().into_bytes(), b"2\n");
//! ```
//!
//! A write that returned is kept, whatever becomes of this process. No operation is half done. On wasm32-wasip1 stores
//! are always available.

mod error;
mod sys;

pub use error::{StoreError, StoreErrorKind};

use std::time::Duration;

use self::sys::Handle;

/// Opens a store by the name that `handler.NAME.stores` has for it.
///
/// # Errors
/// The store is not granted.
pub fn open(name: &str) -> Result<Store, StoreError> {
    Handle::open(name).map(Store)
}

/// A store: values by their keys. Keys are texts of 512 bytes at most, values have 1,000,000 bytes at most.
#[derive(Debug)]
pub struct Store(Handle);

/// A value with its version, which changes with every write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Vec<u8>,
    /// The version. A store uses no version twice, unless a crash lost the write.
    pub version: u64,
}

/// When a value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always: the last write wins.
    Always,
    /// Only if the key has no value.
    Absent,
    /// Only if the value has this version.
    Version(u64),
}

/// The outcome of [`Store::set_if`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// The value was written and has this version.
    Written(u64),
    /// The condition did not hold. This is the current entry; `None` if there is none.
    Stale(Option<Entry>),
}

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The keys in the order of their bytes. A page may be empty although more keys follow.
    pub keys: Vec<String>,
    /// Continues the listing. `None` at its end.
    pub cursor: Option<String>,
}

impl Store {
    /// Returns the value of a key, or `None` if it has none.
    ///
    /// # Errors
    /// The key is out of bounds, or the store cannot be read. So it is for every operation below.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.entry(key)?.map(|entry| entry.value))
    }

    /// Returns the value of a key and its version.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn entry(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.0.get(key)
    }

    /// Whether a key has a value.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn exists(&self, key: &str) -> Result<bool, StoreError> {
        Ok(self.entry(key)?.is_some())
    }

    /// Sets a value. The last write wins; an earlier time to live ends.
    ///
    /// # Errors
    /// As [`Store::get`]; or the quota is reached.
    pub fn set(&self, key: &str, value: impl AsRef<[u8]>) -> Result<(), StoreError> {
        self.0.set(key, value.as_ref(), None, Condition::Always).map(drop)
    }

    /// Sets a value that is gone after `ttl`.
    ///
    /// # Errors
    /// As [`Store::set`].
    pub fn set_for(&self, key: &str, value: impl AsRef<[u8]>, ttl: Duration) -> Result<(), StoreError> {
        self.0.set(key, value.as_ref(), Some(ttl), Condition::Always).map(drop)
    }

    /// Sets a value if the key has none, and returns whether it did. Of any number that try at once, one succeeds.
    ///
    /// # Errors
    /// As [`Store::set`].
    pub fn create(&self, key: &str, value: impl AsRef<[u8]>) -> Result<bool, StoreError> {
        let swapped = self.set_if(key, value, None, Condition::Absent)?;
        Ok(matches!(swapped, Swapped::Written(_)))
    }

    /// Sets a value under a condition.
    ///
    /// # Errors
    /// As [`Store::set`]. A condition that does not hold is no error.
    pub fn set_if(
        &self,
        key: &str,
        value: impl AsRef<[u8]>,
        ttl: Option<Duration>,
        condition: Condition,
    ) -> Result<Swapped, StoreError> {
        self.0.set(key, value.as_ref(), ttl, condition)
    }

    /// Deletes a key and returns whether it had a value.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn delete(&self, key: &str) -> Result<bool, StoreError> {
        self.0.delete(key)
    }

    /// Adds to a number and returns the sum. The value is decimal text; a key without a value counts as 0.
    ///
    /// # Errors
    /// As [`Store::set`]; or the value is no number, or the sum does not fit into 64 bits.
    pub fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        self.0.increment(key, delta)
    }

    /// Lists keys that begin with a prefix: at most `limit` of them, behind a cursor of an earlier page.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn list(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.0.list(prefix, cursor, limit)
    }

    /// Lists all keys that begin with a prefix.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let (mut keys, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.list(prefix, cursor.as_deref(), 1000)?;
            keys.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(keys);
            }
        }
    }

    /// Returns the entries of several keys, in their order.
    ///
    /// # Errors
    /// As [`Store::get`]; or there are more than 256 keys.
    pub fn get_many(&self, keys: &[impl AsRef<str>]) -> Result<Vec<Option<Entry>>, StoreError> {
        self.0.get_many(&keys.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    /// Sets several values: all of them or none, except on NATS, where each is whole.
    ///
    /// # Errors
    /// As [`Store::set`]; or the batch has more than 256 keys or 8 MiB.
    pub fn set_many(&self, entries: &[(impl AsRef<str>, impl AsRef<[u8]>)]) -> Result<(), StoreError> {
        let entries: Vec<_> = entries.iter().map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
        self.0.set_many(&entries)
    }

    /// Deletes several keys.
    ///
    /// # Errors
    /// As [`Store::get`]; or there are more than 256 keys.
    pub fn delete_many(&self, keys: &[impl AsRef<str>]) -> Result<(), StoreError> {
        self.0.delete_many(&keys.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    /// Changes a value: `change` makes the new value of the current one, and is called again if another changed it
    /// meanwhile. Returns the new value.
    ///
    /// # Errors
    /// As [`Store::set`]; or what `change` returns.
    pub fn update<E: From<StoreError>>(
        &self,
        key: &str,
        mut change: impl FnMut(Option<&[u8]>) -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let mut current = self.entry(key)?;
        loop {
            let condition = match &current {
                Some(entry) => Condition::Version(entry.version),
                None => Condition::Absent,
            };
            let next = change(current.as_ref().map(|entry| entry.value.as_slice()))?;
            match self.set_if(key, &next, None, condition)? {
                Swapped::Written(_) => return Ok(next),
                Swapped::Stale(entry) => current = entry,
            }
        }
    }
}

/// Values that are JSON.
#[cfg(feature = "json")]
impl Store {
    /// Returns the value of a key, read from JSON.
    ///
    /// # Errors
    /// As [`Store::get`]; or the value is not JSON of this type.
    pub fn get_json<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        self.get(key)?.map(|value| from_json(key, &value)).transpose()
    }

    /// Sets a value, written as JSON.
    ///
    /// # Errors
    /// As [`Store::set`]; or the value cannot be written as JSON.
    pub fn set_json<T: serde::Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), StoreError> {
        self.set(key, to_json(key, value)?)
    }

    /// Sets a value, written as JSON, if the key has none, and returns whether it did.
    ///
    /// # Errors
    /// As [`Store::set_json`].
    pub fn create_json<T: serde::Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
    ) -> Result<bool, StoreError> {
        self.create(key, to_json(key, value)?)
    }

    /// Changes a value that is JSON, as [`Store::update`] does.
    ///
    /// ```
    /// use portcullis_guest::store::{self, StoreError};
    ///
    /// let carts = store::open("default")?;
    /// let cart: Vec<String> = carts.update_json("cart/ada", |cart: Option<Vec<String>>| {
    ///     let mut cart = cart.unwrap_or_default();
    ///     cart.push("milk".to_owned());
    ///     Ok::<_, StoreError>(cart)
    /// })?;
    /// assert_eq!(cart, ["milk"]);
    /// # Ok::<(), StoreError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::update`]; or a value is not JSON of this type.
    pub fn update_json<T, E>(
        &self,
        key: &str,
        mut change: impl FnMut(Option<T>) -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: serde::Serialize + serde::de::DeserializeOwned,
        E: From<StoreError>,
    {
        let value = self.update(key, |current| {
            let current = current.map(|value| from_json(key, value)).transpose()?;
            Ok::<_, E>(to_json(key, &change(current)?)?)
        })?;
        Ok(from_json(key, &value)?)
    }
}

#[cfg(feature = "json")]
fn from_json<T: serde::de::DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value)
        .map_err(|error| StoreError::new(StoreErrorKind::Json, format!("{key}: {error}")))
}

#[cfg(feature = "json")]
fn to_json<T: serde::Serialize + ?Sized>(key: &str, value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value)
        .map_err(|error| StoreError::new(StoreErrorKind::Json, format!("{key}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_in_memory_keeps_to_the_semantics() {
        let store = open("default").unwrap();

        assert_eq!(store.get("a").unwrap(), None);
        assert!(store.create("a", "1").unwrap());
        assert!(!store.create("a", "2").unwrap());
        let entry = store.entry("a").unwrap().unwrap();
        assert_eq!(store.increment("a", 41).unwrap(), 42);
        let swapped = store.set_if("a", "x", None, Condition::Version(entry.version)).unwrap();
        assert!(matches!(&swapped, Swapped::Stale(Some(now)) if now.value == b"42"), "{swapped:?}");
        store.set("a", "x").unwrap();
        assert_eq!(store.increment("a", 1).unwrap_err().kind(), StoreErrorKind::NotANumber);
        store.set("a", i64::MAX.to_string()).unwrap();
        assert_eq!(store.increment("a", 1).unwrap_err().kind(), StoreErrorKind::Overflow);
        store.set_many(&[("b/2", "x"), ("b/1", "y")]).unwrap();
        assert_eq!(store.keys("b/").unwrap(), ["b/1", "b/2"]);
        let page = store.list("", None, 1).unwrap();
        assert_eq!((page.keys, page.cursor.as_deref()), (vec!["a".to_owned()], Some("a")));
        let found = store.get_many(&["b/1", "c"]).unwrap();
        assert_eq!(found[0].as_ref().map(|entry| &*entry.value), Some(&b"y"[..]));
        assert_eq!(found[1], None);
        assert!(store.delete("b/1").unwrap() && !store.delete("b/1").unwrap());
        store.set_for("t", "x", Duration::ZERO).unwrap();
        assert!(!store.exists("t").unwrap());
        assert_eq!(store.get("").unwrap_err().kind(), StoreErrorKind::Invalid);
    }

    #[test]
    fn a_store_in_memory_has_the_bounds_of_the_daemon() {
        let store = open("default").unwrap();
        let kind = |error: StoreError| error.kind();
        let large = vec![0; 1_000_001];
        assert_eq!(store.set("a", &large).map_err(kind), Err(StoreErrorKind::Invalid));
        let days = Duration::from_secs(24 * 3600);
        assert_eq!(store.set_for("a", "x", days * 365 * 101).map_err(kind), Err(StoreErrorKind::Invalid));
        let many = ["k"; 257];
        assert_eq!(store.get_many(&many).map_err(kind), Err(StoreErrorKind::Invalid));
        assert_eq!(store.delete_many(&many).map_err(kind), Err(StoreErrorKind::Invalid));
        let long = "k".repeat(513);
        assert_eq!(store.list(&long, None, 1).map_err(kind), Err(StoreErrorKind::Invalid));
        store.set("a", &large[1..]).unwrap();
        assert_eq!(store.get_many(&["a"; 9]).map_err(kind), Err(StoreErrorKind::Invalid));
    }

    #[test]
    fn every_thread_has_stores_of_its_own() {
        open("default").unwrap().set("a", "x").unwrap();

        let other = std::thread::spawn(|| open("default").unwrap().get("a").unwrap()).join().unwrap();

        assert_eq!(other, None);
        assert_eq!(open("other").unwrap().get("a").unwrap(), None);
    }
}
