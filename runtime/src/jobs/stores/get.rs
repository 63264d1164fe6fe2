//! `storeget NAME KEY`: the value of a key, its version, and when it expires.

use std::sync::Arc;

use anyhow::{Result, bail};

use super::find::OperatorStores;
use crate::engine::Engine;
use crate::job::Job;
use crate::jobs::api::{StoreGetCommand, StoreGetReply, StoredValue, expiry};
use crate::jobs::reply::ReplyJob;

/// Reads entries.
pub struct GetEntry {
    /// The stores.
    pub stores: Arc<OperatorStores>,
}

impl ReplyJob for GetEntry {
    type Command = StoreGetCommand;

    async fn answer(&self, _engine: &Arc<Engine>, job: &Job) -> Result<StoreGetReply> {
        let StoreGetCommand { store, key } = StoreGetCommand::decode(&job.args)?;
        let store = self.stores.find(&store)?;
        let found = store.open().await?.get(&key).await.map_err(|error| store.error(&error))?;
        let Some(current) = found else { bail!("store {:?}: {key:?} has no value", store.name) };
        let expires = current.expires_ms.and_then(expiry);
        Ok(StoreGetReply { key, value: StoredValue::of(&current.value), version: current.version, expires })
    }
}
