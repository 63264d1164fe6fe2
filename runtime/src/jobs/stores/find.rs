//! Finds a store of the configuration by its name, for operators.

use std::sync::Arc;

use anyhow::{Result, anyhow};

use crate::config::Config;
use crate::jobs::daemon_state::DaemonState;
use crate::jobs::generations::Generations;
use crate::store::{KeyValue, SharedStore, StoreError};

/// The stores of the configuration in force.
pub struct OperatorStores {
    /// Holds the configuration.
    pub state: Arc<DaemonState>,
    /// Holds the open stores.
    pub generations: Arc<Generations>,
}

/// A store that an operator has named.
pub(super) struct NamedStore {
    pub(super) name: String,
    shared: Arc<SharedStore>,
}

impl OperatorStores {
    /// Finds a store. Does not open it.
    ///
    /// # Errors
    /// There is no such store.
    pub(super) fn find(&self, name: &str) -> Result<NamedStore> {
        let config: Arc<Config> = self.state.config.load_full();
        let stores = config.all_stores();
        let Some(store) = stores.iter().find(|store| store.options.name == name) else {
            let names: Vec<&str> = stores.iter().map(|store| store.options.name.as_str()).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(anyhow!("there is no store {name:?}; stores: {names}"));
        };
        Ok(NamedStore { name: name.to_owned(), shared: self.generations.loader.store(store)? })
    }
}

impl NamedStore {
    /// Returns the open store.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) async fn open(&self) -> Result<&KeyValue> {
        self.shared.open().await.map_err(|error| self.error(&error))
    }

    /// Describes an error of an operation.
    pub(super) fn error(&self, error: &StoreError) -> anyhow::Error {
        anyhow!("store {:?}: {error}", self.name)
    }
}
