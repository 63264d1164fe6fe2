//! Memory of SQLite, counted by thread: each connection has a thread, and no statement takes the memory of all others.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::{Once, OnceLock};

use rusqlite::ffi;

thread_local! {
    /// Bytes that this thread has allocated.
    static USED: Cell<i64> = const { Cell::new(0) };
    /// Bytes that it may have.
    static MOST: Cell<i64> = const { Cell::new(i64::MAX) };
    /// Whether it was refused memory.
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

/// Starts to count. Has to be called before a connection is opened.
pub(super) fn count_by_thread() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        if install().is_none() {
            tracing::warn!("the memory of SQLite is bounded for all databases together alone");
        }
    });
}

/// Bounds the memory of the connections of this thread.
pub(super) fn bound_this_thread(bytes: i64) {
    MOST.set(bytes);
}

/// Whether this thread has more than half of the memory that it may have.
pub(super) fn is_scarce() -> bool {
    USED.get() > MOST.get() / 2
}

/// Returns whether this thread was refused memory since the last call.
pub(super) fn take_refusal() -> bool {
    WAS_REFUSED.replace(false)
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
    // SAFETY: the option writes to a pointer of this type, which is valid for the call. `STARTED` lets one thread in here,
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

/// Whether this thread may have so many bytes more.
fn may_have(more: c_int) -> bool {
    let may_have = USED.get() + i64::from(more) <= MOST.get();
    if !may_have {
        WAS_REFUSED.set(true);
    }
    may_have
}

fn add(bytes: i64) {
    USED.set(USED.get() + bytes);
}

unsafe extern "C" fn malloc(size: c_int) -> *mut c_void {
    let Some(own) = ALLOCATOR.get().filter(|_| may_have(size)) else { return null_mut() };
    // SAFETY: the arguments are those that SQLite has for this function.
    let made = unsafe { (own.malloc)(size) };
    if !made.is_null() {
        // SAFETY: it has just been allocated by the same allocator.
        add(i64::from(unsafe { (own.size)(made) }));
    }
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
    let before = unsafe { (own.size)(at) };
    if size > before && !may_have(size - before) {
        return null_mut();
    }
    // SAFETY: as above.
    let made = unsafe { (own.realloc)(at, size) };
    if !made.is_null() {
        // SAFETY: it has just been allocated by the same allocator.
        add(i64::from(unsafe { (own.size)(made) }) - i64::from(before));
    }
    made
}
