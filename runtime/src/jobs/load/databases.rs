//! Opens the stores and databases of a configuration before its handlers are made.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Error, anyhow};
use tracing::warn;

use super::handler::HandlerResources;
use super::stores::{self, AbsentFile, OpenedStores};
use crate::config::Config;
use crate::database::{SharedDatabase, SqlError};
use crate::jobs::credential;

/// What a load holds open: a store or database is closed when nothing holds it.
type HeldOpen = (OpenedStores, Vec<Arc<SharedDatabase>>);

/// Opens the stores and databases that handlers are granted. Blocks.
///
/// # Errors
/// A store or database that is damaged, one error each.
pub(super) fn open(
    ground: &HandlerResources,
    config: &Config,
    absent: AbsentFile,
) -> Result<HeldOpen, Vec<Error>> {
    Ok((stores::open(ground, config, absent)?, databases(ground, config, absent)?))
}

/// Opens the databases that handlers are granted, and returns them: a database is closed when nothing holds it. Blocks.
///
/// A database that cannot be reached is logged; its users get the error until it can be.
///
/// # Errors
/// A database that is damaged, one error each.
fn databases(
    ground: &HandlerResources,
    config: &Config,
    absent: AbsentFile,
) -> Result<Vec<Arc<SharedDatabase>>, Vec<Error>> {
    let granted = config.handlers.iter().flat_map(|handler| &handler.databases).map(|grant| &grant.database);
    // A password that is missing is an error of each handler with the database.
    let granted: HashSet<_> = granted.filter_map(|database| credential::database(database).ok()).collect();
    let databases: Vec<_> = granted.iter().map(|options| ground.databases.get(options)).collect();
    // Without a runtime, nothing serves: a database is opened by the first job that uses it.
    let Some(runtime) = &ground.home else { return Ok(databases) };
    let mut errors = Vec::new();
    for database in &databases {
        let opened = runtime.block_on(async {
            match absent {
                AbsentFile::Made => database.open().await,
                AbsentFile::Left => database.examine().await,
            }
        });
        let name = &database.options().name;
        match opened {
            Ok(()) => {}
            Err(error @ SqlError::Corrupt(_)) => errors.push(anyhow!("database {name:?}: {error}")),
            Err(error) => warn!("database {name:?}: {error}; jobs that use it fail until it can be"),
        }
    }
    if errors.is_empty() { Ok(databases) } else { Err(errors) }
}
