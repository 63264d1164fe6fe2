//! `storeset NAME KEY`: sets a key to the input of the job.

use std::sync::Arc;

use anyhow::{Result, anyhow};

use super::find::OperatorStores;
use crate::engine::{Engine, NativeJob};
use crate::job::{Fault, Job, Run};
use crate::jobs::api::{SetCondition, StoreSetCommand, StoreSetReply};
use crate::jobs::reply::reply;
use crate::store::{Condition, MAX_VALUE, Swapped};

/// Writes entries.
pub struct SetEntry {
    /// The stores.
    pub stores: Arc<OperatorStores>,
}

impl NativeJob for SetEntry {
    fn run(self: Arc<Self>, _engine: Arc<Engine>, mut job: Job) -> Run {
        Box::pin(async move {
            let outcome = match job.stdin.read_to_end(MAX_VALUE as u64).await {
                Ok(value) => self.set(&job.args, value).await,
                Err(Fault::InputTooLarge(max)) => {
                    Err(anyhow!("a value has {max} bytes at most: store it in pieces"))
                }
                Err(fault) => return Err(fault),
            };
            reply::<StoreSetCommand>(&job, outcome).await
        })
    }
}

impl SetEntry {
    async fn set(&self, args: &[String], value: Vec<u8>) -> Result<StoreSetReply> {
        let StoreSetCommand { store, key, ttl, condition } = StoreSetCommand::decode(args)?;
        let condition = match condition {
            SetCondition::Always => Condition::Always,
            SetCondition::Absent => Condition::Absent,
            SetCondition::Version(version) => Condition::Version(version),
        };
        let store = self.stores.find(&store)?;
        let set = store.open().await?.set(&key, value.into(), ttl, condition).await;
        let refused = |why: &str| Err(anyhow!("store {:?}: {key:?} {why}: nothing was written", store.name));
        match set.map_err(|error| store.error(&error))? {
            Swapped::Written(version) => Ok(StoreSetReply { version }),
            Swapped::Stale(Some(current)) => refused(&format!("has version {} now", current.version)),
            Swapped::Stale(None) => refused("has no value now"),
        }
    }
}
