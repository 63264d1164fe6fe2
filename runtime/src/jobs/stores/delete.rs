//! `storedelete NAME KEY...`: deletes keys.

use std::sync::Arc;

use anyhow::Result;

use super::find::OperatorStores;
use crate::engine::Engine;
use crate::job::Job;
use crate::jobs::api::{StoreDeleteCommand, StoreDeleteReply};
use crate::jobs::reply::ReplyJob;

/// Deletes entries, one after another.
pub struct DeleteEntries {
    /// The stores.
    pub stores: Arc<OperatorStores>,
}

impl ReplyJob for DeleteEntries {
    type Command = StoreDeleteCommand;

    async fn answer(&self, _engine: &Arc<Engine>, job: &Job) -> Result<StoreDeleteReply> {
        let StoreDeleteCommand { store, keys } = StoreDeleteCommand::decode(&job.args)?;
        let store = self.stores.find(&store)?;
        let open = store.open().await?;
        let mut deleted = 0;
        for key in &keys {
            let existed = open.delete(key).await.map_err(|error| store.error(&error))?;
            deleted += usize::from(existed);
        }
        Ok(StoreDeleteReply { deleted })
    }
}
