//! One suite for every back end.

mod bounds;
mod crashes;
mod edges;
mod entries;
mod places;
#[cfg(feature = "redis")]
mod rates;
mod semantics;
#[cfg(any(feature = "nats", feature = "redis"))]
mod servers;
mod throughput;

use std::path::Path;
use std::sync::Arc;

use super::{Durability, KeyValue, StoreOptions};

/// The quota of a store under test.
const QUOTA: u64 = 8 << 20;

/// Returns the options of a store at a URL.
fn options(url: &str) -> StoreOptions {
    StoreOptions {
        name: "suite".to_owned(),
        url: url.parse().unwrap(),
        quota: QUOTA,
        durability: Durability::Sync,
    }
}

async fn open(url: &str) -> Arc<KeyValue> {
    Arc::new(KeyValue::open(&options(url)).await.unwrap())
}

async fn open_file(path: &Path, durability: Durability) -> KeyValue {
    let options = StoreOptions { durability, ..options(&format!("redb:{}", path.display())) };
    KeyValue::open(&options).await.unwrap()
}
