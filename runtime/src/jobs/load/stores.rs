//! Opens the stores of a configuration before its handlers are made.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Error, anyhow};
use futures_util::future::join_all;

use super::handler::HandlerResources;
use crate::config::Config;
use crate::jobs::credential;
use crate::observe::plain;
use crate::store::{SharedStore, StoreError};

/// How a load treats a store whose file does not exist yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AbsentFile {
    Made,
    Left,
}

/// Stores or databases, and a line for each that cannot be reached. Each is closed when nothing holds it.
pub(super) type WithUnreachable<T> = (Vec<Arc<T>>, Vec<String>);

/// Opens the stores that handlers are granted and those of rate limits, all at once. Blocks.
///
/// A store that cannot be reached is no error: its users get the error until it can be.
///
/// # Errors
/// A store that is damaged, one error each.
pub(super) fn open(
    ground: &HandlerResources,
    config: &Config,
    absent: AbsentFile,
) -> Result<WithUnreachable<SharedStore>, Vec<Error>> {
    let granted = config.handlers.iter().flat_map(|handler| &handler.stores).map(|grant| &grant.store);
    // A password that is missing is an error of each handler with the store.
    let granted: HashSet<_> = granted.filter_map(|store| credential::store(store).ok()).collect();
    let limits = config.limit_stores().filter_map(|(_, store)| credential::store(store).ok());
    let limits: HashSet<_> = limits.filter(|store| !granted.contains(store)).collect();
    let held: Vec<_> = granted.iter().chain(&limits).map(|options| ground.stores.get(options)).collect();
    // Without a runtime, nothing serves: a store is opened by the first job that uses it.
    let Some(runtime) = &ground.home else { return Ok((held, Vec::new())) };
    let open = async |store: &Arc<SharedStore>| match absent {
        AbsentFile::Made => store.open_to_end().await.map(drop),
        AbsentFile::Left => store.examine().await,
    };
    let opened = runtime.block_on(join_all(held.iter().map(open)));
    let (mut errors, mut unreachable) = (Vec::new(), Vec::new());
    for (store, opened) in held.iter().zip(opened) {
        let name = &store.options().name;
        match opened {
            Ok(()) => {}
            Err(error @ StoreError::Corrupt(_)) => errors.push(anyhow!("store {name:?}: {error}")),
            Err(error) => {
                let until = match limits.contains(store.options()) {
                    true => "until it can be, its rate limits count in this daemon alone",
                    false => "jobs that use it fail until it can be",
                };
                // A server may answer in several lines.
                unreachable.push(format!("store {name:?}: {}; {until}", plain(&error.to_string())));
            }
        }
    }
    unreachable.sort();
    if errors.is_empty() { Ok((held, unreachable)) } else { Err(errors) }
}
