//! What one guest is granted, and what it has used of it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::job::{Job, Name};
use crate::store::{KeyValue, StoreError, StoreGrant};

/// Operations of one job. A job that needs more is a batch, and should be several jobs: each operation costs the
/// store as much as a small request costs the daemon.
const MAX_OPERATIONS: u32 = 100_000;

/// The stores of a guest.
pub(in crate::wasm) struct GuestStores {
    handler: Option<Name>,
    granted: Arc<[StoreGrant]>,
    operations: u32,
    /// What the last operation returned, until the guest takes it.
    pub(super) result: Bytes,
    /// The message of the last failure.
    pub(super) last_error: String,
}

/// Why an operation failed, as the guest sees it.
#[derive(Debug)]
pub(super) struct StoreFailure {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl GuestStores {
    pub(in crate::wasm) fn of(job: &Job) -> GuestStores {
        let granted = job.entry.grants.stores.clone();
        GuestStores { handler: Some(job.name().clone()), granted, ..GuestStores::nothing() }
    }

    /// Makes the state for an instance that runs no job. It may open nothing.
    pub(in crate::wasm) fn nothing() -> GuestStores {
        let granted = Arc::new([]);
        GuestStores { handler: None, granted, operations: 0, result: Bytes::new(), last_error: String::new() }
    }

    /// Finds a store by the guest's name for it. Does not open it.
    pub(super) fn find(&self, name: &str) -> Result<u32, StoreFailure> {
        let place = self.granted.iter().position(|grant| grant.name == name);
        let place = place.and_then(|place| u32::try_from(place).ok());
        place.ok_or_else(|| {
            let handler = self.handler.as_ref().map_or("NAME", Name::as_str);
            let name: String = name.chars().take(64).collect();
            StoreFailure {
                code: "access_denied",
                message: format!(
                    "store {name:?} is not granted: add it to handler.{handler}.stores in the configuration"
                ),
            }
        })
    }

    /// Runs one operation on a store, which is opened if it is not open yet.
    pub(super) async fn run<T>(
        &mut self,
        store: u32,
        operation: impl AsyncFnOnce(&KeyValue) -> Result<T, StoreError>,
    ) -> Result<T, StoreFailure> {
        self.result = Bytes::new();
        if self.operations >= MAX_OPERATIONS {
            return Err(StoreFailure {
                code: "too_many",
                message: format!("a job has {MAX_OPERATIONS} operations on stores at most"),
            });
        }
        self.operations += 1;
        let grant = usize::try_from(store).ok().and_then(|store| self.granted.get(store));
        let grant = grant.ok_or_else(|| StoreFailure {
            code: "invalid",
            message: "there is no store with this number: open it first".to_owned(),
        })?;
        let outcome = match grant.store.open().await {
            Ok(store) => operation(store).await,
            Err(error) => Err(error),
        };
        outcome.map_err(|error| StoreFailure::of(&grant.name, &error))
    }

    /// Converts an outcome to a return value. A failure is kept for `error`, and returns -1.
    pub(super) fn settle(&mut self, outcome: Result<i32, StoreFailure>) -> i32 {
        outcome.unwrap_or_else(|failure| {
            self.last_error = failure.to_string();
            -1
        })
    }
}

impl StoreFailure {
    fn of(name: &str, error: &StoreError) -> StoreFailure {
        let message = match error {
            // Addresses and paths are the operator's alone: `status` and the log have them.
            StoreError::Unavailable(_) => format!("store {name}: it cannot be reached: see the daemon's log"),
            StoreError::Interrupted(_) => {
                format!(
                    "store {name}: the connection ended during a write, which may or may not have happened"
                )
            }
            StoreError::Corrupt(_) => format!("store {name}: it is damaged: see the daemon's log"),
            error => format!("store {name}: {error}"),
        };
        StoreFailure { code: error.code(), message }
    }
}

/// `CODE: MESSAGE`.
impl fmt::Display for StoreFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}
