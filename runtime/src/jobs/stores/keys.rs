//! `storelist NAME [PREFIX]`: a page of the keys of a store.

use std::sync::Arc;

use anyhow::Result;

use super::find::OperatorStores;
use crate::engine::Engine;
use crate::job::Job;
use crate::jobs::api::{StoreListCommand, StoreListReply};
use crate::jobs::reply::ReplyJob;
use crate::store::{KeyPage, MAX_PAGE};

/// Lists keys.
pub struct ListKeys {
    /// The stores.
    pub stores: Arc<OperatorStores>,
}

impl ReplyJob for ListKeys {
    type Command = StoreListCommand;

    async fn answer(&self, _engine: &Arc<Engine>, job: &Job) -> Result<StoreListReply> {
        let StoreListCommand { store, prefix, after, limit } = StoreListCommand::decode(&job.args)?;
        let store = self.stores.find(&store)?;
        let open = store.open().await?;
        let page = open.list(&prefix, after.as_deref(), limit.unwrap_or(MAX_PAGE)).await;
        let KeyPage { keys, cursor } = page.map_err(|error| store.error(&error))?;
        Ok(StoreListReply { keys, cursor })
    }
}
