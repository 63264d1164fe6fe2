//! The stores that one guest is granted, and what it has used of them.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::payer::StorePayer;
use crate::job::{HandlerVersion, Job, Output};
use crate::observe::traces::{OperationSpan, SpanRef};
use crate::store::{KeyValue, StoreError, StoreGrant, StoreUse};

/// Operations of one job. A job that needs more is a batch, and should be several jobs: each operation costs the
/// store as much as a small request costs the daemon.
const MAX_OPERATIONS: u32 = 100_000;

/// Operations of one job that are awaited at once. Each may hold a value.
const MAX_UNDER_WAY: usize = 16;

/// Swaps and cursors that one job may hold at once.
const MAX_KEPT: usize = 1024;

/// The stores of a guest.
pub(in crate::wasm) struct GuestStores {
    /// `None` for an instance that runs no job.
    entry: Option<Arc<HandlerVersion>>,
    granted: Arc<[StoreGrant]>,
    /// Keeps the stores here until the job has ended.
    _uses: Vec<StoreUse>,
    /// Where the guest's messages go.
    pub(super) log: Output,
    /// Swaps that a component has begun.
    swaps: Vec<Option<BegunSwap>>,
    /// Keys behind which a listing goes on, by the numbers that a component has for them.
    cursors: Vec<String>,
    operations: u32,
    payer: StorePayer,
    /// Its references are counted: one for each operation that is awaited.
    under_way: Arc<()>,
    /// What the last operation returned, until the guest takes it.
    pub(super) result: Bytes,
    /// The message of the last failure.
    pub(super) last_error: String,
}

/// A swap that a component has begun: the version that it expects, `None` if no value.
#[derive(Clone)]
pub(super) struct BegunSwap {
    pub(super) store: u32,
    pub(super) key: String,
    pub(super) version: Option<u64>,
}

/// An operation that a guest awaits while it goes on.
pub(super) struct BegunOperation {
    grant: StoreGrant,
    payer: StorePayer,
    under_way: Arc<()>,
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
        let uses = granted.iter().map(|grant| grant.store.enter()).collect();
        let (entry, log) = (Some(job.entry.clone()), job.stderr.clone());
        GuestStores { entry, granted, _uses: uses, log, payer: StorePayer::of(job), ..GuestStores::nothing() }
    }

    /// Makes the state for an instance that runs no job. It may open nothing.
    pub(in crate::wasm) fn nothing() -> GuestStores {
        let granted = Arc::new([]);
        GuestStores {
            entry: None,
            granted,
            _uses: Vec::new(),
            log: Output::nowhere(),
            swaps: Vec::new(),
            cursors: Vec::new(),
            operations: 0,
            payer: StorePayer::default(),
            under_way: Arc::default(),
            result: Bytes::new(),
            last_error: String::new(),
        }
    }

    /// Finds a store by the guest's name for it. Does not open it.
    pub(super) fn find(&self, name: &str) -> Result<u32, StoreFailure> {
        let place = self.granted.iter().position(|grant| grant.name == name);
        let place = place.and_then(|place| u32::try_from(place).ok());
        place.ok_or_else(|| {
            let handler = self.entry.as_ref().map_or("NAME", |entry| entry.name.as_str());
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
        let payer = self.payer.clone();
        let grant = self.count(store)?;
        payer.pay(run(grant, payer.span(), operation)).await
    }

    /// Begins an operation that the guest awaits, perhaps beside others.
    pub(super) fn begin(&mut self, store: u32) -> Result<BegunOperation, StoreFailure> {
        let under_way = self.under_way.clone();
        // One for this and one for each operation.
        if Arc::strong_count(&under_way) > MAX_UNDER_WAY + 1 {
            return Err(too_many(&format!("a job may await {MAX_UNDER_WAY} operations on stores at once")));
        }
        let grant = self.count(store)?.clone();
        Ok(BegunOperation { grant, payer: self.payer.clone(), under_way })
    }

    /// Counts an operation, and finds its store.
    fn count(&mut self, store: u32) -> Result<&StoreGrant, StoreFailure> {
        if self.operations >= MAX_OPERATIONS {
            return Err(too_many(&format!("a job has {MAX_OPERATIONS} operations on stores at most")));
        }
        self.operations += 1;
        let grant = usize::try_from(store).ok().and_then(|store| self.granted.get(store));
        grant.ok_or_else(|| invalid("there is no store with this number: open it first"))
    }

    /// Returns a variable that is configured for the handler.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Returns the variable for one of Spin, whose names are in small letters: `api_key` is `api_key`, or else `API_KEY`.
    pub(super) fn spin_variable(&self, name: &str) -> Option<&str> {
        self.variable(name).or_else(|| self.variable(&name.to_ascii_uppercase()))
    }

    /// Returns the variables that are configured for the handler.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entry.iter().flat_map(|entry| entry.env.iter())
    }

    /// Keeps a swap and returns its number.
    pub(super) fn add_swap(
        &mut self,
        store: u32,
        key: String,
        version: Option<u64>,
    ) -> Result<u32, StoreFailure> {
        let place = match self.swaps.iter().position(Option::is_none) {
            Some(free) => free,
            None if self.swaps.len() < MAX_KEPT => {
                self.swaps.push(None);
                self.swaps.len() - 1
            }
            None => return Err(too_many(&format!("a job may hold {MAX_KEPT} swaps at once"))),
        };
        self.swaps[place] = Some(BegunSwap { store, key, version });
        u32::try_from(place).map_err(|_| too_many("a job may hold fewer swaps"))
    }

    pub(super) fn swap(&mut self, number: u32) -> Option<&mut BegunSwap> {
        self.swaps.get_mut(usize::try_from(number).ok()?)?.as_mut()
    }

    pub(super) fn forget_swap(&mut self, number: u32) {
        if let Some(place) = usize::try_from(number).ok().and_then(|number| self.swaps.get_mut(number)) {
            *place = None;
        }
    }

    /// Reports whether the guest still holds a swap.
    pub(in crate::wasm) fn knows_swaps(&self) -> bool {
        self.swaps.iter().any(Option::is_some)
    }

    /// Keeps the key behind which a listing goes on, and returns its number. The last place is used again and again: a
    /// listing needs its last cursor alone.
    pub(super) fn add_cursor(&mut self, key: String) -> u64 {
        self.cursors.truncate(MAX_KEPT - 1);
        self.cursors.push(key);
        self.cursors.len() as u64
    }

    /// Returns the key of a cursor.
    pub(super) fn cursor(&self, number: u64) -> Result<String, StoreFailure> {
        let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let key = place.and_then(|place| self.cursors.get(place)).cloned();
        key.ok_or_else(|| invalid("there is no such cursor: begin the listing again"))
    }

    /// Converts an outcome to a return value. A failure is kept for `error`, and returns -1.
    pub(super) fn settle(&mut self, outcome: Result<i32, StoreFailure>) -> i32 {
        outcome.unwrap_or_else(|failure| {
            self.last_error = failure.to_string();
            -1
        })
    }
}

impl BegunOperation {
    /// Runs the operation.
    pub(super) async fn run<T>(
        self,
        operation: impl AsyncFnOnce(&KeyValue) -> Result<T, StoreError>,
    ) -> Result<T, StoreFailure> {
        self.run_held(operation).await.map(|(result, _)| result)
    }

    /// Runs the operation. The second value counts it as awaited until it is dropped: when the result has been read.
    pub(super) async fn run_held<T>(
        self,
        operation: impl AsyncFnOnce(&KeyValue) -> Result<T, StoreError>,
    ) -> Result<(T, Arc<()>), StoreFailure> {
        let result = self.payer.pay(run(&self.grant, self.payer.span(), operation)).await?;
        Ok((result, self.under_way))
    }
}

/// Runs an operation on a store, which is opened if it is not open yet. `span` is that of its job.
async fn run<T>(
    grant: &StoreGrant,
    span: Option<SpanRef>,
    operation: impl AsyncFnOnce(&KeyValue) -> Result<T, StoreError>,
) -> Result<T, StoreFailure> {
    let started = span.is_some().then(Instant::now);
    let outcome = match grant.store.open().await {
        Ok(store) => operation(store).await,
        Err(error) => Err(error),
    };
    if let Some((span, started)) = span.zip(started) {
        let failure = outcome.as_ref().err().map(StoreError::code);
        let (name, ended) = (grant.name.clone(), Instant::now());
        span.operation_ended(OperationSpan {
            system: "store",
            name,
            started,
            ended,
            operation: None,
            failure,
        });
    }
    outcome.map_err(|error| {
        grant.store.log_failure(&error);
        StoreFailure::of(&grant.name, &error)
    })
}

/// Makes the failure of an operation with a wrong argument.
pub(super) fn invalid(what: &str) -> StoreFailure {
    StoreFailure { code: StoreError::Invalid(String::new()).code(), message: what.to_owned() }
}

/// Makes the failure of an operation whose bytes would not fit into the memory of the job.
pub(super) fn no_memory(bytes: usize) -> StoreFailure {
    too_many(&format!(
        "the job has no memory for the {bytes} bytes of an operation: use less at once, or raise limits.memory"
    ))
}

fn too_many(message: &str) -> StoreFailure {
    StoreFailure { code: "too_many", message: message.to_owned() }
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

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::task::{Context, Waker};

    use super::*;
    use crate::store::{Durability, StoreOptions, StorePool};

    /// The stores of a guest that is granted one.
    fn granted() -> GuestStores {
        let options = StoreOptions {
            name: "one".to_owned(),
            url: "memory:".parse().unwrap(),
            quota: 1 << 20,
            durability: Durability::Sync,
        };
        let store = StorePool::default().get(&options);
        let granted: Arc<[StoreGrant]> = Arc::new([StoreGrant { name: "one".to_owned(), store }]);
        GuestStores { granted, ..GuestStores::nothing() }
    }

    #[test]
    fn a_job_has_a_bounded_number_of_operations() {
        let mut stores = GuestStores { operations: MAX_OPERATIONS - 1, ..granted() };

        assert!(stores.begin(0).is_ok());

        let refused = stores.begin(0).err().map(|failure| failure.to_string());
        assert_eq!(refused.as_deref(), Some("too_many: a job has 100000 operations on stores at most"));
    }

    #[tokio::test]
    async fn a_listing_that_is_awaited_counts_once() {
        let mut stores = granted();
        let mut listings = Vec::new();

        for _ in 0..MAX_UNDER_WAY {
            let begun = stores.begin(0).unwrap();
            let endless = async |_: &KeyValue| pending::<Result<(), StoreError>>().await;
            let mut listing = Box::pin(begun.run_held(endless));
            assert!(listing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            listings.push(listing);
        }

        assert_eq!(stores.begin(0).err().map(|failure| failure.code), Some("too_many"));
        drop(listings);
        assert!(stores.begin(0).is_ok());
    }
}
