//! A handler before its module is compiled, checked as far as is possible without the code.

use std::sync::Arc;

use anyhow::Result;

use crate::config::{DatabaseGrantConfig, HandlerConfig, StoreGrantConfig};
use crate::database::DatabaseOptions;
use crate::job::{Env, HandlerVersion, Kind};
use crate::jobs::credential;
use crate::store::StoreOptions;
use crate::wasm::{Digest, Mounted};

/// The parts of a handler, except the code of its module.
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
    /// Its stores and databases.
    pub(super) kept: KeptOptions,
}

/// The stores and databases that a handler may open, by its names for them, with their passwords.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct KeptOptions {
    pub(super) stores: Vec<NamedOptions<StoreOptions>>,
    pub(super) databases: Vec<NamedOptions<DatabaseOptions>>,
}

/// A store or database that a handler may open, and the handler's name for it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct NamedOptions<T> {
    pub(super) name: String,
    pub(super) options: T,
}

/// Returns the stores and databases that a handler may open, with their passwords.
///
/// # Errors
/// A password is missing.
pub(super) fn kept(config: &HandlerConfig) -> Result<KeptOptions> {
    let store = |grant: &StoreGrantConfig| {
        Ok(NamedOptions { name: grant.name.clone(), options: credential::store(&grant.store)? })
    };
    let database = |grant: &DatabaseGrantConfig| {
        Ok(NamedOptions { name: grant.name.clone(), options: credential::database(&grant.database)? })
    };
    Ok(KeptOptions {
        stores: config.stores.iter().map(store).collect::<Result<_>>()?,
        databases: config.databases.iter().map(database).collect::<Result<_>>()?,
    })
}

/// Whether a version has these stores and databases.
pub(super) fn has_kept(entry: &HandlerVersion, kept: &KeptOptions) -> bool {
    let stores = entry.grants.stores.iter().map(|grant| (&grant.name, grant.store.options()));
    let databases = entry.grants.databases.iter().map(|grant| (&grant.name, grant.database.options()));
    stores.eq(kept.stores.iter().map(|store| (&store.name, &store.options)))
        && databases.eq(kept.databases.iter().map(|database| (&database.name, &database.options)))
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
