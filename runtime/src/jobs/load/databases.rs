//! Opens the stores and databases of a configuration before its handlers are made.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Error, anyhow};
use futures_util::future::join_all;

use super::handler::HandlerResources;
use super::stores::{self, AbsentFile, WithUnreachable};
use crate::config::Config;
use crate::database::{SharedDatabase, SqlError};
use crate::jobs::credential;
use crate::observe::plain;
use crate::store::SharedStore;

/// The stores and databases of a configuration. Each is closed when nothing holds it.
pub(super) struct OpenedData {
    _stores: Vec<Arc<SharedStore>>,
    _databases: Vec<Arc<SharedDatabase>>,
    /// The stores and databases that cannot be reached, a line each.
    pub(super) unreachable: Vec<String>,
}

/// Opens the stores and databases that handlers are granted. Blocks.
///
/// # Errors
/// A store or database that is damaged, one error each.
pub(super) fn open(
    ground: &HandlerResources,
    config: &Config,
    absent: AbsentFile,
) -> Result<OpenedData, Vec<Error>> {
    match (stores::open(ground, config, absent), databases(ground, config, absent)) {
        (Ok((stores, mut unreachable)), Ok((databases, more))) => {
            unreachable.extend(more);
            Ok(OpenedData { _stores: stores, _databases: databases, unreachable })
        }
        (stores, databases) => Err(stores.err().into_iter().chain(databases.err()).flatten().collect()),
    }
}

/// Opens the databases that handlers are granted, all at once. Blocks.
///
/// A database that cannot be reached is no error: its users get the error until it can be.
///
/// # Errors
/// A database that is damaged, one error each.
fn databases(
    ground: &HandlerResources,
    config: &Config,
    absent: AbsentFile,
) -> Result<WithUnreachable<SharedDatabase>, Vec<Error>> {
    let granted = config.handlers.iter().flat_map(|handler| &handler.databases).map(|grant| &grant.database);
    // A password that is missing is an error of each handler with the database.
    let granted: HashSet<_> = granted.filter_map(|database| credential::database(database).ok()).collect();
    let databases: Vec<_> = granted.iter().map(|options| ground.databases.get(options)).collect();
    // Without a runtime, nothing serves: a database is opened by the first job that uses it.
    let Some(runtime) = &ground.home else { return Ok((databases, Vec::new())) };
    let open = async |database: &Arc<SharedDatabase>| match absent {
        AbsentFile::Made => database.open().await,
        AbsentFile::Left => database.examine().await,
    };
    let opened = runtime.block_on(join_all(databases.iter().map(open)));
    let (mut errors, mut unreachable) = (Vec::new(), Vec::new());
    for (database, opened) in databases.iter().zip(opened) {
        let name = &database.options().name;
        match opened {
            Ok(()) => {}
            Err(error @ SqlError::Corrupt(_)) => errors.push(anyhow!("database {name:?}: {error}")),
            Err(error) => {
                let why = plain(&error.to_string()).into_owned();
                unreachable.push(format!("database {name:?}: {why}; jobs that use it fail until it can be"));
            }
        }
    }
    unreachable.sort();
    if errors.is_empty() { Ok((databases, unreachable)) } else { Err(errors) }
}
