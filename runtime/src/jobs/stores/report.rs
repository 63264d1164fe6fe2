//! `stores`: the stores of the configuration, what they hold, and who is granted them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::find::OperatorStores;
use crate::config::{Config, StoreConfig};
use crate::engine::Engine;
use crate::job::Job;
use crate::jobs::api::{StoreReport, StoresCommand};
use crate::jobs::generations::Generations;
use crate::jobs::reply::ReplyJob;
use crate::store::{SharedStore, StoreError};

/// The longest wait for a store: an operator who asks is not to wait for a server that is down.
const REPORT_WAIT: Duration = Duration::from_secs(2);

/// Lists the stores.
pub struct ListStores {
    /// The stores.
    pub stores: Arc<OperatorStores>,
}

impl ReplyJob for ListStores {
    type Command = StoresCommand;

    async fn answer(&self, _engine: &Arc<Engine>, _job: &Job) -> Result<Vec<StoreReport>> {
        Ok(reports(&self.stores.state.config.load_full(), &self.stores.generations).await)
    }
}

/// Describes all stores of a configuration. Asks them at once.
pub(in crate::jobs) async fn reports(config: &Config, generations: &Generations) -> Vec<StoreReport> {
    let users = config.store_users();
    let report = async |store: &StoreConfig| {
        let options = &store.options;
        let granted = users.get(options.name.as_str()).cloned().unwrap_or_default();
        let used = match generations.loader.store(store) {
            // Opening it would make it, and no handler uses it.
            Ok(store) if granted.is_empty() && store.opened().is_none() => Ok(None),
            Ok(store) => {
                let used = timeout(REPORT_WAIT, used(&store)).await.unwrap_or(Err(StoreError::Timeout));
                used.map(Some).map_err(anyhow::Error::from)
            }
            Err(error) => Err(error),
        };
        let (used, error) = match used {
            Ok(used) => (used, None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        StoreReport {
            name: options.name.clone(),
            url: options.url.to_string(),
            used,
            quota: options.quota,
            error,
            granted,
        }
    };
    join_all(config.all_stores().into_iter().map(report)).await
}

/// Asks a store that is opened if need be. Not counted as an operation of a handler.
async fn used(store: &SharedStore) -> Result<u64, StoreError> {
    store.open_to_end().await?.used().await
}
