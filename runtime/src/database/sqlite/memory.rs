//! Memory of SQLite, counted by thread: each connection has a thread, and no statement takes the memory of all others.
//!
//! A thread has some bytes of its own, and takes what it needs beyond them from those that all threads share. So statements
//! that sort may use up the shared bytes, and all others go on.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::ffi;

use crate::database::limits::{OWN_MEMORY, SHARED_MEMORY};

thread_local! {
    /// Bytes that this thread has allocated.
    static USED: Cell<i64> = const { Cell::new(0) };
    /// Bytes that it may have.
    static MOST: Cell<i64> = const { Cell::new(i64::MAX) };
    /// Whether the current statement was refused memory because the thread has all that it may have.
    static WAS_REFUSED: Cell<bool> = const { Cell::new(false) };
}

/// SQLite's own functions.
struct Allocator {
    malloc: unsafe extern "C" fn(c_int) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
    realloc: unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void,
    size: unsafe extern "C" fn(*mut c_void) -> c_int,
}

static ALLOCATOR: OnceLock<Allocator> = OnceLock::new();

/// The bytes that threads have beyond their own.
static SHARED: SharedMemory = SharedMemory::new(SHARED_MEMORY);

/// Bytes that all threads share.
struct SharedMemory {
    used: AtomicI64,
    max: i64,
}

impl SharedMemory {
    const fn new(max: i64) -> SharedMemory {
        SharedMemory { used: AtomicI64::new(0), max }
    }

    /// Notes that a thread has `after` bytes instead of `before`. Returns whether all are within the bound.
    fn note(&self, before: i64, after: i64) -> bool {
        let more = beyond(after) - beyond(before);
        more == 0 || self.used.fetch_add(more, Ordering::Relaxed) + more <= self.max
    }

    /// Lets a thread grow from `before` to `after` bytes. Returns `false`, and notes nothing, if there is no room.
    fn take(&self, before: i64, after: i64) -> bool {
        let is_granted = self.note(before, after);
        if !is_granted {
            self.note(after, before);
        }
        is_granted
    }
}

/// Returns how many of a thread's bytes are not its own.
fn beyond(bytes: i64) -> i64 {
    (bytes - OWN_MEMORY).max(0)
}

/// Starts to count. Has to be called before a connection is opened. Returns `false` if SQLite does not allow it.
pub(super) fn count_by_thread() -> bool {
    static COUNTS: OnceLock<bool> = OnceLock::new();
    *COUNTS.get_or_init(|| {
        let counts = install().is_some();
        if !counts {
            tracing::warn!("the memory of SQLite is bounded for all databases together alone");
        }
        counts
    })
}

/// Bounds the memory of the connections of this thread.
pub(super) fn bound_this_thread(bytes: i64) {
    MOST.set(bytes);
}

/// Whether this thread has so much more than its own memory that it should not keep it between statements.
pub(super) fn is_large() -> bool {
    USED.get() > 2 * OWN_MEMORY
}

/// Begins a statement. An earlier statement may have been refused memory without an error; that explains no error of this
/// one.
pub(super) fn forget_refusal() {
    WAS_REFUSED.set(false);
}

/// Returns whether the statement was refused memory because its thread has all that it may have.
pub(super) fn was_refused() -> bool {
    WAS_REFUSED.get()
}

/// Puts the functions here in front of SQLite's own. Returns `None` if SQLite is in use already.
fn install() -> Option<()> {
    let mut methods = ffi::sqlite3_mem_methods {
        xMalloc: None,
        xFree: None,
        xRealloc: None,
        xSize: None,
        xRoundup: None,
        xInit: None,
        xShutdown: None,
        pAppData: null_mut(),
    };
    // SAFETY: the option writes to a pointer of this type, which is valid for the call. `COUNTS` lets one thread in here,
    // and connections are opened behind it.
    let read = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETMALLOC, &raw mut methods) };
    if read != ffi::SQLITE_OK {
        return None;
    }
    let allocator = Allocator {
        malloc: methods.xMalloc?,
        free: methods.xFree?,
        realloc: methods.xRealloc?,
        size: methods.xSize?,
    };
    ALLOCATOR.set(allocator).ok()?;
    methods.xMalloc = Some(malloc);
    methods.xFree = Some(free);
    methods.xRealloc = Some(realloc);
    // SAFETY: as above; SQLite copies the structure. The functions keep to the contract of those that they call.
    let set = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const methods) };
    (set == ffi::SQLITE_OK).then_some(())
}

/// Takes so many bytes more for this thread. Returns `false` if it may not have them.
fn take(more: i64) -> bool {
    let (before, after) = (USED.get(), USED.get() + more);
    if after > MOST.get() {
        WAS_REFUSED.set(true);
        return false;
    }
    let is_granted = SHARED.take(before, after);
    match is_granted {
        true => USED.set(after),
        // SQLite may have coped with an earlier refusal, but not with this one.
        false => WAS_REFUSED.set(false),
    }
    is_granted
}

/// Adds bytes that this thread has already, or has no longer.
fn add(bytes: i64) {
    let (before, after) = (USED.get(), USED.get() + bytes);
    // What was allocated may be larger than what was taken by some bytes.
    let _within = SHARED.note(before, after);
    USED.set(after);
}

unsafe extern "C" fn malloc(size: c_int) -> *mut c_void {
    let wanted = i64::from(size);
    let Some(own) = ALLOCATOR.get().filter(|_| take(wanted)) else { return null_mut() };
    // SAFETY: the arguments are those that SQLite has for this function.
    let made = unsafe { (own.malloc)(size) };
    // SAFETY: it has just been allocated by the same allocator, if it is not null.
    let has = if made.is_null() { 0 } else { i64::from(unsafe { (own.size)(made) }) };
    add(has - wanted);
    made
}

unsafe extern "C" fn free(at: *mut c_void) {
    let Some(own) = ALLOCATOR.get() else { return };
    // SAFETY: SQLite frees what it was given by `malloc` or `realloc` here, and never null: sqlite3_mem_methods.
    add(-i64::from(unsafe { (own.size)(at) }));
    // SAFETY: as above; it is not used afterwards.
    unsafe { (own.free)(at) }
}

unsafe extern "C" fn realloc(at: *mut c_void, size: c_int) -> *mut c_void {
    let Some(own) = ALLOCATOR.get() else { return null_mut() };
    // SAFETY: SQLite passes what it was given here, and never null: sqlite3_mem_methods.
    let before = i64::from(unsafe { (own.size)(at) });
    let more = (i64::from(size) - before).max(0);
    if more > 0 && !take(more) {
        return null_mut();
    }
    // SAFETY: as above.
    let made = unsafe { (own.realloc)(at, size) };
    // SAFETY: it has just been allocated by the same allocator, if it is not null. Otherwise the old one is still there.
    let has = if made.is_null() { before } else { i64::from(unsafe { (own.size)(made) }) };
    add(has - before - more);
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::limits::CONNECTION_MEMORY;

    #[test]
    fn connections_that_sort_leave_memory_for_others() {
        let memory = SharedMemory::new(SHARED_MEMORY);

        let sorting = (0..8).filter(|_| memory.take(0, CONNECTION_MEMORY)).count();

        assert!(sorting >= 2, "{sorting}");
        assert!(!memory.take(0, CONNECTION_MEMORY), "there is a bound on all of them");
        // Any number of others.
        assert!((0..1000).all(|_| memory.take(0, OWN_MEMORY)));
        assert!(!memory.take(OWN_MEMORY, OWN_MEMORY + CONNECTION_MEMORY));
        // One of them ends.
        assert!(memory.note(CONNECTION_MEMORY, 0) && memory.take(0, CONNECTION_MEMORY));
        (0..sorting).for_each(|_| assert!(memory.note(CONNECTION_MEMORY, 0)));
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    }
}
