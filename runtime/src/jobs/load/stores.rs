//! Opens the stores of a configuration before its handlers are made.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Error, anyhow};
use tracing::warn;

use super::handler::HandlerResources;
use crate::config::Config;
use crate::store::{SharedStore, StoreError};

/// What is done about a store whose file does not exist yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AbsentFile {
    Made,
    Left,
}

/// Opens the stores that handlers are granted, and returns them: a store is closed when nothing holds it. Blocks.
///
/// A store that cannot be reached is logged; its users get the error until it can be.
///
/// # Errors
/// A store that is damaged, one error each.
pub(super) fn open(
    ground: &HandlerResources,
    config: &Config,
    absent: AbsentFile,
) -> Result<Vec<Arc<SharedStore>>, Vec<Error>> {
    let granted: HashSet<_> =
        config.handlers.iter().flat_map(|handler| &handler.stores).map(|grant| &grant.options).collect();
    let stores: Vec<_> = granted.into_iter().map(|options| ground.stores.get(options)).collect();
    // Without a runtime, nothing serves: a store is opened by the first job that uses it.
    let Some(runtime) = &ground.home else { return Ok(stores) };
    let mut errors = Vec::new();
    for store in &stores {
        let opened = runtime.block_on(async {
            match absent {
                AbsentFile::Made => store.open_to_end().await.map(drop),
                AbsentFile::Left => store.examine().await,
            }
        });
        let name = &store.options().name;
        match opened {
            Ok(()) => {}
            Err(error @ StoreError::Corrupt(_)) => errors.push(anyhow!("store {name:?}: {error}")),
            Err(error) => warn!("store {name:?}: {error}; jobs that use it fail until it can be"),
        }
    }
    if errors.is_empty() { Ok(stores) } else { Err(errors) }
}
