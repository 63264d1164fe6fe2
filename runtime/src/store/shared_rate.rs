//! A rate limit that several daemons count together in a store.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};

use super::error::StoreError;
use super::rate_count::{RateCount, RateRequest};
use super::shared::SharedStore;

/// The longest that a request waits to be counted: a limit is not to make requests slow. Less than a busy machine may
/// take in a test.
const WAIT: Duration = if cfg!(test) { Duration::from_secs(2) } else { Duration::from_millis(250) };

/// A limit in a store. While the store fails, each daemon counts alone.
pub struct SharedRate {
    store: Arc<SharedStore>,
    limit: String,
    interval_us: f64,
    burst: u32,
    seed: String,
}

impl SharedRate {
    /// Makes a limit. Daemons whose limits have the same `description` count together. One request becomes possible in
    /// each `interval`.
    pub fn new(store: Arc<SharedStore>, description: &str, interval: Duration, burst: u32) -> SharedRate {
        let digest = Sha256::digest(description);
        let limit = HEXLOWER.encode(&digest[..16]);
        let seed = format!("{:016x}", RandomState::new().build_hasher().finish());
        SharedRate { store, limit, interval_us: interval.as_secs_f64() * 1e6, burst, seed }
    }

    /// Returns the store.
    pub fn store(&self) -> &Arc<SharedStore> {
        &self.store
    }

    /// Counts a request of a client. `None` if the store fails or does not answer within 250 ms, or did so within the
    /// last second: then the caller counts by itself.
    ///
    /// # Cancel safety
    /// The request may or may not count.
    pub async fn count(&self, client: &[u8]) -> Option<RateCount> {
        let outage = self.store.rate_outage();
        if !outage.is_to_ask() {
            return None;
        }
        let until = Instant::now() + WAIT;
        let SharedRate { store, limit, interval_us, burst, seed } = self;
        let request =
            RateRequest { limit, client, interval_us: *interval_us, burst: *burst, seed: seed.as_str() };
        let opened = timeout_at(until, store.open()).await.unwrap_or(Err(StoreError::Timeout));
        let counted = match opened {
            Ok(store) => store.count_rate(request, until).await,
            Err(error) => Err(error),
        };
        match counted {
            Ok(count) => {
                if outage.ended() {
                    tracing::info!("store {:?}: it counts requests for rate limits again", self.name());
                }
                Some(count)
            }
            Err(error) => {
                if outage.began() {
                    tracing::warn!(
                        "store {:?}: {error}; until it answers, its rate limits count in this daemon alone",
                        self.name()
                    );
                }
                None
            }
        }
    }

    fn name(&self) -> &str {
        &self.store.options().name
    }
}
