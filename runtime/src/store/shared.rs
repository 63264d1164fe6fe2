//! The stores of all handlers: one of each, however many handlers and generations use it.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::error::StoreError;
use super::key_value::{KeyValue, STORE_WAIT, StoreOptions};
use super::limits::StoreQuota;
use super::rate_outage::RateOutage;
use super::url::StoreUrl;
use super::value::Durability;
use crate::observe::FailureLog;

/// The time between attempts to open a store: until then, its users get the last error at once.
const STORE_REOPEN: Duration = Duration::from_secs(1);

/// Stores by their place, as long as a handler has them.
#[derive(Default)]
pub struct StorePool {
    slots: Mutex<HashMap<StorePlace, Weak<StoreSlot>>>,
    /// The runtime of the daemon; `None` stands for the one in which a job is polled.
    home: Option<Handle>,
}

/// What tells stores apart. Two configurations of one place are one store.
#[derive(PartialEq, Eq, Hash)]
struct StorePlace {
    /// Empty for a file, which holds one store.
    name: String,
    url: StoreUrl,
}

/// A store that is opened when it is first used, and again if that failed.
struct StoreSlot {
    /// The options with which it is opened, but for the quota.
    options: StoreOptions,
    quota: StoreQuota,
    opened: OnceCell<KeyValue>,
    failed: Mutex<Option<(Instant, StoreError)>>,
    /// Operations that have failed because the store could not be opened.
    unopened: AtomicU64,
    failures: FailureLog,
    /// Whether it counts the requests of rate limits.
    rates: RateOutage,
    /// Running jobs that may use it.
    users: AtomicUsize,
    /// Whether it is left to the next process.
    left: AtomicBool,
    /// The runtime of the daemon; `None` stands for the one in which a job is polled.
    home: Option<Handle>,
}

/// The right of a running job to use a store, which is not left to the next process before it is dropped.
pub struct StoreUse(Arc<StoreSlot>);

/// A store as a configuration has it.
pub struct SharedStore {
    options: StoreOptions,
    slot: Arc<StoreSlot>,
}

/// A store under the name that a handler has for it.
#[derive(Clone)]
pub struct StoreGrant {
    /// The name that the handler uses.
    pub name: String,
    /// The store.
    pub store: Arc<SharedStore>,
}

impl StorePool {
    /// Makes a pool whose stores are opened in this runtime, whatever jobs are polled in. The file threads of a handler
    /// may open nothing but its mounts, and a connection would end with them.
    pub fn within(home: Option<Handle>) -> StorePool {
        StorePool { slots: Mutex::default(), home }
    }

    /// Returns the store with these options. If its place is in use with others, those stay until
    /// [`apply`](SharedStore::apply).
    pub fn get(&self, options: &StoreOptions) -> Arc<SharedStore> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get(&options.place()).and_then(Weak::upgrade).unwrap_or_else(|| {
            // At powers of two alone: a walk over all stores for each new one would be quadratic.
            if slots.len().is_power_of_two() {
                slots.retain(|_, slot| slot.strong_count() > 0);
            }
            let slot = Arc::new(StoreSlot {
                options: options.clone(),
                quota: StoreQuota::new(options.quota),
                opened: OnceCell::new(),
                failed: Mutex::default(),
                unopened: AtomicU64::new(0),
                failures: FailureLog::default(),
                rates: RateOutage::default(),
                users: AtomicUsize::new(0),
                left: AtomicBool::new(false),
                home: self.home.clone(),
            });
            slots.insert(options.place(), Arc::downgrade(&slot));
            slot
        });
        Arc::new(SharedStore { options: options.clone(), slot })
    }

    /// Leaves the files that belong to one process at a time to the next process: each of them is closed when no running
    /// job may use it, and not opened again.
    pub fn leave(&self) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slots: Vec<_> = slots.values().filter_map(Weak::upgrade).collect();
        for slot in slots.iter().filter(|slot| slot.options.belongs_to_one_process()) {
            slot.left.store(true, Ordering::SeqCst);
            slot.close_if_left();
        }
    }
}

impl SharedStore {
    /// Returns the open store, for an operation: waits no longer than one may take.
    ///
    /// # Errors
    /// It cannot be opened, or not in time. After an error the next attempt is made after a second.
    pub async fn open(&self) -> Result<&KeyValue, StoreError> {
        if let Some(store) = self.slot.opened.get() {
            return Ok(store);
        }
        let opened = timeout(STORE_WAIT, self.open_to_end()).await.unwrap_or(Err(StoreError::Timeout));
        opened.inspect_err(|_| {
            self.slot.unopened.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Returns the open store. A file may need minutes if it has to be repaired.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open_to_end(&self) -> Result<&KeyValue, StoreError> {
        let slot = self.slot.clone();
        // A task of its own: the caller may be a job that is killed meanwhile.
        let opening = self.slot.home().spawn(async move { slot.open().await });
        let ended = |error| StoreError::Unavailable(format!("opening was ended: {error}"));
        opening.await.unwrap_or_else(|error| Err(ended(error.to_string())))?;
        self.slot.opened.get().ok_or_else(|| ended(self.options.url.to_string()))
    }

    /// Notes a running job that may use the store.
    pub fn enter(&self) -> StoreUse {
        self.slot.users.fetch_add(1, Ordering::SeqCst);
        StoreUse(self.slot.clone())
    }

    /// Checks whether the store can be opened. Makes and changes nothing.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn examine(&self) -> Result<(), StoreError> {
        match self.slot.opened.initialized() {
            true => Ok(()),
            false => KeyValue::examine(&self.options).await,
        }
    }

    /// Gives the store the options of this configuration, which is about to serve. The durability of a store that is in
    /// use stays.
    pub fn apply(&self) {
        self.slot.quota.set(self.options.quota);
        if self.slot.options.durability != self.options.durability {
            let name = &self.options.name;
            tracing::warn!(
                "store {name:?}: the changed durability takes effect when the daemon is restarted"
            );
        }
    }

    /// Returns the options of this configuration.
    pub fn options(&self) -> &StoreOptions {
        &self.options
    }

    /// Logs the failure of an operation of a job, now and then: jobs do not learn the cause.
    pub fn log_failure(&self, error: &StoreError) {
        if error.is_outage()
            && let Some(line) = self.slot.failures.line("store", &self.options.name, error)
        {
            tracing::warn!("{line}");
        }
    }

    /// Counts the operations that have failed because the store could not be opened.
    pub fn unopened(&self) -> u64 {
        self.slot.unopened.load(Ordering::Relaxed)
    }

    /// Counts the requests of rate limits that this daemon counted alone, because the store failed.
    pub fn uncounted_requests(&self) -> u64 {
        self.slot.rates.uncounted()
    }

    pub(super) fn rate_outage(&self) -> &RateOutage {
        &self.slot.rates
    }

    /// Returns the store if it is open.
    pub fn opened(&self) -> Option<&KeyValue> {
        self.slot.opened.get()
    }
}

impl StoreSlot {
    /// Returns the runtime in which it is opened.
    fn home(&self) -> Handle {
        self.home.clone().unwrap_or_else(Handle::current)
    }

    async fn open(&self) -> Result<(), StoreError> {
        let open = async || {
            if let Some(error) = self.failure() {
                return Err(error);
            }
            if self.left.load(Ordering::SeqCst) {
                return Err(StoreError::Unavailable("it belongs to the next process".to_owned()));
            }
            let opened = KeyValue::open_within(&self.options, self.quota.clone()).await;
            let failed = opened.as_ref().err().map(|error| (Instant::now(), error.clone()));
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
            opened
        };
        let opened = self.opened.get_or_try_init(open).await.map(drop);
        // It may have been left while it was opened.
        self.close_if_left();
        opened
    }

    /// Closes the store if it is left to the next process and no job may use it. Whatever comes last calls it: the end of
    /// a job, of the opening, or the leaving.
    fn close_if_left(&self) {
        if self.left.load(Ordering::SeqCst)
            && self.users.load(Ordering::SeqCst) == 0
            && let Some(store) = self.opened.get()
        {
            store.close();
        }
    }

    /// Returns the last error if it is recent: the next attempt is not due yet.
    fn failure(&self) -> Option<StoreError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().filter(|(at, _)| at.elapsed() < STORE_REOPEN).map(|(_, error)| error.clone())
    }
}

impl Drop for StoreUse {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::SeqCst);
        self.0.close_if_left();
    }
}

impl StoreOptions {
    fn belongs_to_one_process(&self) -> bool {
        self.file().is_some() && self.durability == Durability::Relaxed
    }

    fn place(&self) -> StorePlace {
        let name = if self.file().is_some() { String::new() } else { self.name.clone() };
        StorePlace { name, url: self.url.clone() }
    }

    /// Returns the file of the store, if it is in one.
    pub fn file(&self) -> Option<&Path> {
        match &self.url {
            StoreUrl::Redb(path) => Some(path),
            StoreUrl::Memory | StoreUrl::Redis(_) | StoreUrl::Nats(_) => None,
        }
    }
}

impl fmt::Debug for StoreGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.store.options.url)
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn runtime(name: &str) -> Runtime {
        Builder::new_multi_thread().worker_threads(1).thread_name(name).build().unwrap()
    }

    #[test]
    fn what_opens_a_store_runs_at_home_whatever_a_job_is_polled_in() {
        let (home, elsewhere) = (runtime("home"), runtime("elsewhere"));
        let (name, quota, durability) = ("a".to_owned(), 0, Durability::Sync);
        let options = StoreOptions { name, url: StoreUrl::Memory, quota, durability };
        let store = StorePool::within(Some(home.handle().clone())).get(&options);
        let name = async { std::thread::current().name().map(str::to_owned) };

        let found = elsewhere.block_on(async { store.slot.home().spawn(name).await.unwrap() });

        assert_eq!(found.as_deref(), Some("home"));
    }
}
