//! Bounds the memory that all connections hold for their clients together.
//!
//! Each connection is bounded by itself: the size of a head, the bytes of a response that wait for the client, the streams
//! of HTTP/2. The product of these bounds and of the number of connections is more than a small machine has. So what
//! a connection holds is charged to an account, in estimates that are rather too high, and beyond the limit
//! the connections that hold most are closed. They are those of the address that holds most, since a client
//! can open many connections.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicIsize, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;

/// Estimates in bytes: what a connection or a part of it holds at most, apart from bytes that are counted.
pub(in crate::http) mod estimate {
    /// A connection: its task and its buffers for reading and writing.
    pub(in crate::http) const CONNECTION: usize = 16 << 10;
    /// The buffers of TLS.
    pub(in crate::http) const TLS: usize = 32 << 10;
    /// The tables and buffers of an HTTP/2 connection.
    pub(in crate::http) const H2: usize = 16 << 10;
    /// The task of an HTTP/2 request, with its head and its log entry.
    pub(in crate::http) const STREAM: usize = 16 << 10;
    /// Bytes that a request body of HTTP/1 may be ahead of its reader.
    pub(in crate::http) const H1_BODY: usize = 32 << 10;
    /// Bytes of a request body of HTTP/2 that may be ahead of their reader: the window of a stream.
    pub(in crate::http) const H2_BODY: usize = 256 << 10;
    /// Bytes that hyper keeps while the client takes none.
    pub(in crate::http) const UNSENT: usize = 64 << 10;
    /// A shorter head or response is covered by its connection or stream.
    pub(in crate::http) const COVERED: usize = 8 << 10;
    /// Bytes of a response that h2 may have taken and cannot send yet: one piece, see `response_body`.
    pub(in crate::http) const H2_PIECE: usize = 32 << 10;
}

/// The memory that connections hold for their clients, and its limit.
pub(in crate::http) struct ClientMemory {
    /// In bytes.
    limit: usize,
    held: AtomicUsize,
    /// What the connections hold that were told to close or are gone. Below 0 for a moment, when bytes are given back
    /// before they are added.
    leaving: AtomicIsize,
    /// How many connections were told to close.
    shed: AtomicU64,
    accounts: Mutex<OpenAccounts>,
}

#[derive(Default)]
struct OpenAccounts {
    /// The next number.
    next: u64,
    open: BTreeMap<u64, Arc<AccountState>>,
}

/// The account of one connection. Clones share it. Opened with what any connection holds.
#[derive(Clone)]
pub(in crate::http) struct MemoryAccount(Arc<AccountState>);

struct AccountState {
    memory: Arc<ClientMemory>,
    /// Unset for a Unix client, and until a proxy has named the client.
    origin: OnceLock<IpAddr>,
    state: HeldBytes,
    told: Notify,
}

/// The bytes of one account, and whether its connection was told to close: in one number, so that each byte is
/// counted on one side or on the other. Its lowest bit is the flag.
#[derive(Default)]
struct HeldBytes(AtomicUsize);

/// Holds an account open. Dropping it takes the account off the list of those that may have to close.
pub(in crate::http) struct OpenMemoryAccount {
    account: MemoryAccount,
    number: u64,
    _base: MemoryCharge,
}

/// A part of what a connection holds. Dropping it gives it back.
pub(in crate::http) struct MemoryCharge {
    account: MemoryAccount,
    bytes: usize,
}

impl ClientMemory {
    /// Makes a limit in bytes.
    pub(in crate::http) fn new(limit: usize) -> Arc<ClientMemory> {
        Arc::new(ClientMemory {
            limit,
            held: AtomicUsize::new(0),
            leaving: AtomicIsize::new(0),
            shed: AtomicU64::new(0),
            accounts: Mutex::default(),
        })
    }

    /// Returns the limit in bytes, or `None` if there is none.
    pub(in crate::http) fn limit(&self) -> Option<usize> {
        Some(self.limit).filter(|limit| *limit < usize::MAX)
    }

    /// Returns how many bytes are held.
    pub(in crate::http) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Returns how many connections were told to close.
    pub(in crate::http) fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    /// Opens the account of a connection from this address.
    pub(in crate::http) fn open(self: &Arc<ClientMemory>, origin: Option<IpAddr>) -> OpenMemoryAccount {
        let account = MemoryAccount(Arc::new(AccountState {
            memory: self.clone(),
            origin: origin.map_or_else(OnceLock::new, OnceLock::from),
            state: HeldBytes::default(),
            told: Notify::new(),
        }));
        let mut accounts = self.accounts();
        let number = accounts.next;
        accounts.next += 1;
        accounts.open.insert(number, account.0.clone());
        drop(accounts);
        OpenMemoryAccount { _base: account.charge(estimate::CONNECTION), account, number }
    }

    /// Returns how many bytes are held, apart from what is about to be given back.
    fn staying(&self) -> usize {
        self.held().saturating_add_signed(self.leaving.load(Ordering::Relaxed).wrapping_neg())
    }

    /// Reports whether more is held than the limit allows, apart from what is about to be given back.
    fn is_over(&self) -> bool {
        self.staying() > self.limit
    }

    /// Tells connections to close until an eighth of the limit is free: each time the largest of the address that
    /// holds most.
    #[cold]
    fn make_room(&self) {
        let accounts = self.accounts();
        // Another thread may have made room while this one waited for the lock.
        if !self.is_over() {
            return;
        }
        let mut holders: HashMap<Result<IpAddr, u64>, AddressTotal> = HashMap::new();
        for (number, account) in &accounts.open {
            let (bytes, false) = account.state.get() else { continue };
            // Unix clients have no address that they share.
            let holder = holders.entry(account.origin.get().copied().ok_or(*number)).or_default();
            holder.bytes += bytes;
            holder.connections.push((bytes, account.clone()));
        }
        let mut holders: Vec<AddressTotal> = holders.into_values().collect();
        for holder in &mut holders {
            holder.connections.sort_unstable_by_key(|(bytes, _)| *bytes);
        }
        let target = self.limit - self.limit / 8;
        while self.staying() > target {
            let Some(largest) = holders.iter_mut().max_by_key(|holder| holder.bytes) else { return };
            let Some((bytes, account)) = largest.connections.pop() else { return };
            largest.bytes -= bytes;
            account.shed(self);
        }
    }

    fn accounts(&self) -> MutexGuard<'_, OpenAccounts> {
        // A poisoned lock is harmless: the value is consistent after every statement.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connections of one address, in ascending order of what they hold.
#[derive(Default)]
struct AddressTotal {
    bytes: usize,
    connections: Vec<(usize, Arc<AccountState>)>,
}

impl AccountState {
    /// Counts what the connection holds as about to be given back, from now on.
    fn leave(&self) {
        if let Some(bytes) = self.state.leave() {
            self.memory.leaving.fetch_add(bytes.cast_signed(), Ordering::Relaxed);
        }
    }

    /// Tells the connection to close.
    fn shed(&self, memory: &ClientMemory) {
        self.leave();
        memory.shed.fetch_add(1, Ordering::Relaxed);
        self.told.notify_one();
    }
}

impl HeldBytes {
    const LEAVING: usize = 1;

    /// Returns the bytes, and whether the connection was told to close.
    fn get(&self) -> (usize, bool) {
        HeldBytes::read(self.0.load(Ordering::Relaxed))
    }

    /// Notes that the connection is to close. Returns the bytes, or `None` if that was noted before.
    fn leave(&self) -> Option<usize> {
        let (bytes, was_leaving) = HeldBytes::read(self.0.fetch_or(HeldBytes::LEAVING, Ordering::Relaxed));
        (!was_leaving).then_some(bytes)
    }

    /// Adds bytes. Returns whether the connection was told to close.
    fn add(&self, bytes: usize) -> bool {
        HeldBytes::read(self.0.fetch_add(bytes << 1, Ordering::Relaxed)).1
    }

    /// Subtracts bytes. Returns whether the connection was told to close.
    fn subtract(&self, bytes: usize) -> bool {
        HeldBytes::read(self.0.fetch_sub(bytes << 1, Ordering::Relaxed)).1
    }

    fn read(number: usize) -> (usize, bool) {
        (number >> 1, number & HeldBytes::LEAVING != 0)
    }
}

impl MemoryAccount {
    /// An account that is charged and has no limit, for tests.
    #[cfg(test)]
    pub(in crate::http) fn unlimited() -> MemoryAccount {
        ClientMemory::new(usize::MAX).open(None).account()
    }

    /// Charges bytes until the returned guard is dropped.
    pub(in crate::http) fn charge(&self, bytes: usize) -> MemoryCharge {
        self.add(bytes);
        MemoryCharge { account: self.clone(), bytes }
    }

    /// Reports whether more than half of what all connections may hold is held.
    pub(in crate::http) fn is_scarce(&self) -> bool {
        self.0.memory.held() > self.0.memory.limit / 2
    }

    /// Waits until the connection has to close, because it holds too much.
    ///
    /// # Cancel safety
    /// A dropped wait loses nothing unless it was ready.
    pub(in crate::http) async fn shed(&self) {
        self.0.told.notified().await;
    }

    fn add(&self, bytes: usize) {
        let AccountState { memory, state, .. } = &*self.0;
        memory.held.fetch_add(bytes, Ordering::Relaxed);
        if state.add(bytes) {
            memory.leaving.fetch_add(bytes.cast_signed(), Ordering::Relaxed);
        } else if memory.is_over() {
            memory.make_room();
        }
    }

    fn give_back(&self, bytes: usize) {
        let AccountState { memory, state, .. } = &*self.0;
        if state.subtract(bytes) {
            memory.leaving.fetch_sub(bytes.cast_signed(), Ordering::Relaxed);
        }
        memory.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl OpenMemoryAccount {
    /// Counts what the connection holds for this address, which a proxy has named. An address that was known stays.
    pub(in crate::http) fn move_to(&self, origin: Option<IpAddr>) {
        if let Some(origin) = origin {
            // It fails only if an address is known.
            let _set = self.account.0.origin.set(origin);
        }
    }

    /// Returns the account.
    pub(in crate::http) fn account(&self) -> MemoryAccount {
        self.account.clone()
    }
}

impl Drop for OpenMemoryAccount {
    fn drop(&mut self) {
        self.account.0.memory.accounts().open.remove(&self.number);
        // What a job still has of its request ends with the job.
        self.account.0.leave();
    }
}

impl MemoryCharge {
    /// Changes the charge to this many bytes.
    pub(in crate::http) fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes > before {
            self.account.add(bytes - before);
        } else if bytes < before {
            self.account.give_back(before - bytes);
        }
    }

    /// Adds bytes to the charge.
    pub(in crate::http) fn grow(&mut self, bytes: usize) {
        self.set(self.bytes + bytes);
    }

    /// Returns the account that is charged.
    pub(in crate::http) fn account(&self) -> &MemoryAccount {
        &self.account
    }
}

impl Drop for MemoryCharge {
    fn drop(&mut self) {
        self.account.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests;
