//! A handler before its module is compiled, checked as far as is possible without the code.

use std::sync::Arc;

use anyhow::Result;

use crate::config::{HandlerConfig, StoreGrantConfig};
use crate::job::{Env, HandlerVersion, Kind};
use crate::jobs::credential;
use crate::store::StoreOptions;
use crate::wasm::{Digest, Mounted};

/// What a handler is made of, except the code of its module.
#[derive(Clone)]
pub(super) struct Prepared {
    /// The kind of the module.
    pub(super) kind: Kind,
    pub(super) digest: Digest,
    /// Whether the code is in use or in the cache.
    pub(super) is_compiled: bool,
    /// The variables, with the secrets.
    pub(super) env: Env,
    pub(super) mounted: Arc<Mounted>,
    /// The stores by the handler's names for them, with their passwords.
    pub(super) stores: Vec<NamedStoreOptions>,
}

/// A store that a handler may open, and the handler's name for it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct NamedStoreOptions {
    pub(super) name: String,
    pub(super) options: StoreOptions,
}

/// Returns the stores that a handler may open, with their passwords.
///
/// # Errors
/// A password is missing.
pub(super) fn stores(config: &HandlerConfig) -> Result<Vec<NamedStoreOptions>> {
    let resolve = |grant: &StoreGrantConfig| {
        Ok(NamedStoreOptions { name: grant.name.clone(), options: credential::store(&grant.store)? })
    };
    config.stores.iter().map(resolve).collect()
}

/// Whether a version has these stores.
pub(super) fn has_stores(entry: &HandlerVersion, stores: &[NamedStoreOptions]) -> bool {
    let granted = entry.grants.stores.iter().map(|grant| (&grant.name, grant.store.options()));
    granted.eq(stores.iter().map(|store| (&store.name, &store.options)))
}

/// Returns the variables of a handler, with its secrets.
///
/// # Errors
/// A secret is missing.
pub(super) fn variables(config: &HandlerConfig) -> Result<Env> {
    let mut env = config.env.clone();
    credential::add(&mut env, config)?;
    Ok(env)
}
