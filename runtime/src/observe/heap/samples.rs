//! The samples of the heap profiler.
//!
//! A [`HeapRun`] switches the profiler on for the whole process; several may run at once. While none runs, an allocation
//! costs one additional load. While one runs, a thread takes a sample each time that it has allocated [`PERIOD`] bytes on
//! average; the sample stands for all of them.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::stack::capture;
use super::symbols::Symbols;

/// The bytes from one sample to the next, on average.
pub const PERIOD: u32 = 512 << 10;

/// The most distinct stacks kept; later samples are counted together.
const STACKS: usize = 4000;

/// The most samples whose memory is watched until it is freed. Memory of later ones does not count as held.
const WATCHED: usize = 1 << 16;

/// The number of running profiles.
static RUNS: AtomicUsize = AtomicUsize::new(0);
/// How often the profiler was switched on: threads begin afresh each time.
static EPOCH: AtomicU32 = AtomicU32::new(0);
/// The samples, while a profile runs.
static SAMPLES: Mutex<Option<HeapSamples>> = Mutex::new(None);
/// How many watched addresses have each hash, up to 255, which then stays: nearly all memory that is freed is not
/// watched, and takes no lock.
static WATCHED_HASHES: [AtomicU8; 1 << 14] = [const { AtomicU8::new(0) }; 1 << 14];

thread_local! {
    static THREAD: HeapThread = const { HeapThread::new() };
}

/// The sampling of one thread. Nothing in it has a destructor, so it may be used until the thread has ended.
struct HeapThread {
    epoch: Cell<u32>,
    /// The bytes from the last sample to the next.
    gap: Cell<u64>,
    /// How many of them are left.
    left: Cell<u64>,
    random: Cell<u64>,
    /// Whether the profiler itself allocates.
    is_busy: Cell<bool>,
}

/// Allocations by stack, outermost function first, separated by semicolons, as flame graph tools read it.
pub type HeapCounts = BTreeMap<String, HeapCount>;

/// Estimates of what the functions of a stack have allocated during a profile.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HeapCount {
    /// The allocations.
    pub allocations: u64,
    /// Their bytes.
    pub allocated: u64,
    /// The allocations that are not freed.
    pub holdings: u64,
    /// Their bytes.
    pub held: u64,
}

#[derive(Default)]
struct HeapSamples {
    stacks: HashMap<Arc<[usize]>, HeapCount>,
    /// The samples whose memory is not freed, by its address.
    watched: HashMap<usize, WatchedSample>,
}

struct WatchedSample {
    stack: Arc<[usize]>,
    allocations: u64,
    bytes: u64,
}

/// A running heap profile. Dropping it ends the profile.
pub struct HeapRun {
    /// The counts when the profile began, from other profiles.
    before: HashMap<Arc<[usize]>, HeapCount>,
}

impl HeapRun {
    /// Starts a profile.
    pub fn begin() -> HeapRun {
        quietly(|| {
            let mut samples = samples();
            if RUNS.fetch_add(1, Ordering::Relaxed) == 0 {
                EPOCH.fetch_add(1, Ordering::Relaxed);
            }
            HeapRun { before: samples.get_or_insert_default().stacks.clone() }
        })
    }

    /// Returns what was allocated since the start, and what of it is not freed. Reads the names of functions from the
    /// program's file. Blocks.
    pub fn counts(&self) -> HeapCounts {
        quietly(|| {
            let now = samples().as_ref().map(|samples| samples.stacks.clone()).unwrap_or_default();
            let names = Symbols::of_program();
            let mut counts = HeapCounts::new();
            let mut known: HashMap<usize, String> = HashMap::new();
            for (stack, count) in now {
                let count = count.since(self.before.get(&stack).copied().unwrap_or_default());
                if count == HeapCount::default() {
                    continue;
                }
                let mut name =
                    |address: &usize| known.entry(*address).or_insert_with(|| names.name(*address)).clone();
                let functions: Vec<String> = stack.iter().map(&mut name).collect();
                counts.entry(shown(&functions)).or_default().add(count);
            }
            counts
        })
    }
}

impl Drop for HeapRun {
    fn drop(&mut self) {
        quietly(|| {
            let mut samples = samples();
            if RUNS.fetch_sub(1, Ordering::Relaxed) == 1 {
                *samples = None;
                WATCHED_HASHES.iter().for_each(|hash| hash.store(0, Ordering::Relaxed));
            }
        });
    }
}

impl HeapCount {
    fn since(self, before: HeapCount) -> HeapCount {
        HeapCount {
            allocations: self.allocations.saturating_sub(before.allocations),
            allocated: self.allocated.saturating_sub(before.allocated),
            holdings: self.holdings.saturating_sub(before.holdings),
            held: self.held.saturating_sub(before.held),
        }
    }

    fn add(&mut self, other: HeapCount) {
        self.allocations += other.allocations;
        self.allocated += other.allocated;
        self.holdings += other.holdings;
        self.held += other.held;
    }
}

impl HeapThread {
    const fn new() -> HeapThread {
        HeapThread {
            epoch: Cell::new(0),
            gap: Cell::new(0),
            left: Cell::new(0),
            random: Cell::new(0),
            is_busy: Cell::new(false),
        }
    }

    /// Counts bytes. Returns for how many of them a sample is due. A new epoch begins with a new gap.
    fn count(&self, epoch: u32, size: u64) -> Option<u64> {
        if self.epoch.replace(epoch) != epoch {
            self.next_gap();
        }
        let left = self.left.get();
        if size < left {
            self.left.set(left - size);
            return None;
        }
        let bytes = self.gap.get() + (size - left);
        self.next_gap();
        Some(bytes)
    }

    /// Chooses the bytes until the next sample, so that no pattern of the program is met again and again.
    fn next_gap(&self) {
        // xorshift64, begun with an address, which differs between threads.
        let mut random = self.random.get();
        if random == 0 {
            random = std::ptr::from_ref(self).addr() as u64 | 1;
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.set(random);
        let period = u64::from(PERIOD);
        let gap = period / 2 + random % period;
        self.gap.set(gap);
        self.left.set(gap);
    }
}

/// Reports whether a profile runs.
#[inline]
pub(super) fn is_on() -> bool {
    RUNS.load(Ordering::Relaxed) > 0
}

/// Counts an allocation of this thread, and takes a sample if one is due.
#[cold]
pub(super) fn allocated(address: usize, size: usize) {
    let size = size.max(1) as u64;
    // A thread that has nearly ended is not sampled.
    let epoch = EPOCH.load(Ordering::Relaxed);
    let is_due =
        THREAD.try_with(|thread| if thread.is_busy.get() { None } else { thread.count(epoch, size) });
    let Some(bytes) = is_due.ok().flatten() else { return };
    quietly(|| {
        capture(|stack| {
            let allocations = (bytes / size).max(1);
            if let Some(samples) = &mut *samples() {
                samples.add(
                    stack,
                    address,
                    HeapCount { allocations, allocated: bytes, ..HeapCount::default() },
                );
            }
        });
    });
}

/// Notes that memory is about to be freed.
#[cold]
pub(super) fn freed(address: usize) {
    if hash(address).load(Ordering::Relaxed) == 0 {
        return;
    }
    // The profiler's own memory is not watched.
    let is_busy = THREAD.try_with(|thread| thread.is_busy.get()).unwrap_or(true);
    if !is_busy {
        quietly(|| {
            if let Some(samples) = &mut *samples() {
                samples.remove(address);
            }
        });
    }
}

impl HeapSamples {
    fn add(&mut self, stack: &[usize], address: usize, count: HeapCount) {
        let known = self.stacks.get_key_value(stack).map(|(known, _)| known.clone());
        let stack = match known {
            Some(known) => known,
            None if self.stacks.len() < STACKS => stack.into(),
            // The stack without functions stands for all others.
            None => [].into(),
        };
        let counts = self.stacks.entry(stack.clone()).or_default();
        counts.add(count);
        if self.watched.len() < WATCHED {
            let HeapCount { allocations, allocated: bytes, .. } = count;
            counts.add(HeapCount { holdings: allocations, held: bytes, ..HeapCount::default() });
            let counted = |count: u8| Some(count.saturating_add(1));
            let _before = hash(address).fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted);
            self.watched.insert(address, WatchedSample { stack, allocations, bytes });
        }
    }

    fn remove(&mut self, address: usize) {
        let Some(WatchedSample { stack, allocations, bytes }) = self.watched.remove(&address) else { return };
        if let Some(counts) = self.stacks.get_mut(&stack) {
            counts.holdings = counts.holdings.saturating_sub(allocations);
            counts.held = counts.held.saturating_sub(bytes);
        }
        let counted = |count: u8| (count < u8::MAX).then(|| count.saturating_sub(1));
        let _before = hash(address).fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted);
    }
}

/// Runs something of the profiler, whose own allocations are not sampled.
fn quietly<T>(run: impl FnOnce() -> T) -> T {
    let before = THREAD.try_with(|thread| thread.is_busy.replace(true)).unwrap_or(true);
    let outcome = run();
    let _ended = THREAD.try_with(|thread| thread.is_busy.set(before));
    outcome
}

fn hash(address: usize) -> &'static AtomicU8 {
    // Memory is aligned to 16 bytes at least, and lies in pages.
    &WATCHED_HASHES[((address >> 4) ^ (address >> 18)) % WATCHED_HASHES.len()]
}

/// Joins the functions of a stack, innermost first, without those of the allocator.
fn shown(functions: &[String]) -> String {
    const OWN: [&str; 6] = [
        "_Unwind_",
        "__rust_",
        "heap::allocator::",
        "heap::samples::allocated",
        "heap::samples::quietly",
        "heap::stack::",
    ];
    if functions.is_empty() {
        return "other stacks".to_owned();
    }
    let is_allocator = |name: &&String| OWN.iter().any(|own| name.contains(own));
    let callers = functions.iter().skip_while(is_allocator);
    let callers: Vec<&str> = callers.map(String::as_str).collect();
    callers.into_iter().rev().collect::<Vec<_>>().join(";")
}

fn samples() -> MutexGuard<'static, Option<HeapSamples>> {
    SAMPLES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
