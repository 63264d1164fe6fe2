//! The stores of all handlers: one of each, however many handlers and generations use it.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use super::error::StoreError;
use super::key_value::{KeyValue, StoreOptions};
use super::url::StoreUrl;

/// The time between attempts to open a store: until then, its users get the last error at once.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// Stores by their options, as long as a handler has them.
#[derive(Default)]
pub struct StorePool(Mutex<HashMap<StoreOptions, Weak<SharedStore>>>);

/// A store that is opened when it is first used, and again if that failed.
pub struct SharedStore {
    options: StoreOptions,
    opened: OnceCell<KeyValue>,
    failed: Mutex<Option<(Instant, StoreError)>>,
}

/// A store under the name that a handler has for it.
#[derive(Clone)]
pub struct StoreGrant {
    /// The name that the handler uses.
    pub name: String,
    /// The store.
    pub store: Arc<SharedStore>,
}

impl StorePool {
    /// Returns the store with these options.
    pub fn get(&self, options: &StoreOptions) -> Arc<SharedStore> {
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stores.retain(|_, store| store.strong_count() > 0);
        if let Some(store) = stores.get(options).and_then(Weak::upgrade) {
            return store;
        }
        let store =
            SharedStore { options: options.clone(), opened: OnceCell::new(), failed: Mutex::default() };
        let store = Arc::new(store);
        stores.insert(options.clone(), Arc::downgrade(&store));
        store
    }

    /// Lists the stores that are in use, by name.
    pub fn all(&self) -> Vec<Arc<SharedStore>> {
        let stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = stores.values().filter_map(Weak::upgrade).collect();
        drop(stores);
        all.sort_by(|one, other| one.options.name.cmp(&other.options.name));
        all
    }
}

impl SharedStore {
    /// Returns the open store.
    ///
    /// # Errors
    /// It cannot be opened. The next attempt is made after a second.
    pub async fn open(&self) -> Result<&KeyValue, StoreError> {
        if let Some(store) = self.opened.get() {
            return Ok(store);
        }
        self.opened
            .get_or_try_init(async || {
                if let Some(error) = self.failure() {
                    return Err(error);
                }
                let opened = KeyValue::open(&self.options).await;
                let failed = opened.as_ref().err().map(|error| (Instant::now(), error.clone()));
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
                opened
            })
            .await
    }

    /// Checks whether the store can be opened. Makes no file.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn examine(&self) -> Result<(), StoreError> {
        match &self.options.url {
            StoreUrl::Redb(path) if !path.exists() => Ok(()),
            _ => self.open().await.map(drop),
        }
    }

    /// Returns the options with which the store is opened.
    pub fn options(&self) -> &StoreOptions {
        &self.options
    }

    /// Returns the store if it is open.
    pub fn opened(&self) -> Option<&KeyValue> {
        self.opened.get()
    }

    /// Returns the last error if it is recent, or the store is still not open.
    fn failure(&self) -> Option<StoreError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().filter(|(at, _)| at.elapsed() < REOPEN_AFTER).map(|(_, error)| error.clone())
    }
}

impl StoreOptions {
    /// Returns the file of the store, if it is in one.
    pub fn file(&self) -> Option<&Path> {
        match &self.url {
            StoreUrl::Redb(path) => Some(path),
            StoreUrl::Memory | StoreUrl::Redis(_) | StoreUrl::Nats(_) => None,
        }
    }
}

impl fmt::Debug for StoreGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.store.options.url)
    }
}
