//! `portcullis_store_v1`, the functions through which a core module uses stores.
//!
//! Every function returns -1 if it fails; `error` then returns the reason. What an operation returns besides its
//! result code is kept for the guest, which takes it with `result`. Keys are UTF-8, in the memory that the module
//! exports as `memory`; numbers that are written there are little-endian.

use std::time::Duration;

use bytes::Bytes;
use wasmtime::error::Context as _;
use wasmtime::{Caller, Linker, Memory, Result};

use super::grants::{GuestStores, StoreFailure, invalid, no_memory};
use super::records;
use crate::store::{Condition, MAX_BATCH_BYTES, MAX_KEY, MAX_VALUE, Swapped, Versioned};
use crate::wasm::host::core_state::{self, State};
use crate::wasm::host::memory_meter::{KeptFor, charged};

/// The name of the module that the functions are imported from.
pub(crate) const MODULE: &str = "portcullis_store_v1";

/// Returned for a key that has no value.
const ABSENT: i32 = -2;

/// Returned by `set`: written; the condition did not hold, and there is a value; there is none.
const WRITTEN: i32 = 0;
const STALE: i32 = 1;
const STALE_ABSENT: i32 = 2;

/// A pointer into the guest's memory, and a length.
type Slice = (u32, u32);

/// Adds the functions to a linker.
pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    link_single(linker)?;
    link_many(linker)?;
    linker.func_wrap(MODULE, "open", |mut caller: Caller<'_, State>, at: u32, size: u32| -> Result<i32> {
        let name = text(&mut caller, (at, size))?;
        let stores = caller.data_mut().stores()?;
        let store = name.and_then(|name| stores.find(&name));
        Ok(stores.settle(
            store.and_then(|store| {
                i32::try_from(store).map_err(|_| invalid("the handler has too many stores"))
            }),
        ))
    })?;
    linker.func_wrap(
        MODULE,
        "result",
        |mut caller: Caller<'_, State>, at: u32, size: u32| -> Result<i32> {
            let result = caller.data_mut().stores()?.result.clone();
            let length = copy(&mut caller, &result, (at, size))?;
            // Taken whole, it need not be held until the next operation.
            if result.len() <= usize::try_from(size)? {
                caller.data_mut().stores()?.result = Bytes::new();
                caller.data_mut().meter.keep(KeptFor::Store, 0);
            }
            Ok(length)
        },
    )?;
    linker.func_wrap(
        MODULE,
        "error",
        |mut caller: Caller<'_, State>, at: u32, size: u32| -> Result<i32> {
            let text = caller.data_mut().stores()?.last_error.clone();
            copy(&mut caller, text.as_bytes(), (at, size))
        },
    )?;
    Ok(())
}

/// Links the operations on one key. All of them may wait; the guest yields meanwhile and uses no processor time.
fn link_single(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap_async(
        MODULE,
        "get",
        |caller: Caller<'_, State>,
         (store, key, key_size, buffer, size, version): (u32, u32, u32, u32, u32, u32)| {
            Box::new(get(caller, store, (key, key_size), (buffer, size), version))
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "set",
        |caller: Caller<'_, State>,
         (store, key, key_size, value, size, ttl_ms, condition, expected, version): (
            u32,
            u32,
            u32,
            u32,
            u32,
            u64,
            u32,
            u64,
            u32,
        )| {
            let ttl = (ttl_ms > 0).then(|| Duration::from_millis(ttl_ms));
            let condition = match condition {
                0 => Some(Condition::Always),
                1 => Some(Condition::Absent),
                2 => Some(Condition::Version(expected)),
                _ => None,
            };
            Box::new(set(caller, store, ((key, key_size), (value, size)), (ttl, condition), version))
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "delete",
        |mut caller: Caller<'_, State>, (store, key, size): (u32, u32, u32)| {
            Box::new(async move {
                let key = text(&mut caller, (key, size))?;
                with(&mut caller, key, async |stores, key| {
                    stores.run(store, async |store| store.delete(&key).await.map(i32::from)).await
                })
                .await
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "increment",
        |mut caller: Caller<'_, State>, (store, key, size, delta, sum): (u32, u32, u32, i64, u32)| {
            Box::new(async move {
                let key = text(&mut caller, (key, size))?;
                let mut added = 0;
                let code = with(&mut caller, key, async |stores, key| {
                    added = stores.run(store, async |store| store.increment(&key, delta).await).await?;
                    Ok(0)
                });
                let code = code.await?;
                if code == 0 {
                    put(&mut caller, sum, &added.to_le_bytes())?;
                }
                Ok(code)
            })
        },
    )?;
    Ok(())
}

/// Links the operations on several keys.
fn link_many(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap_async(
        MODULE,
        "list",
        |mut caller: Caller<'_, State>,
         (store, prefix, prefix_size, cursor, cursor_size, limit): (u32, u32, u32, u32, u32, u32)| {
            Box::new(async move {
                let prefix = text(&mut caller, (prefix, prefix_size))?;
                let cursor = text(&mut caller, (cursor, cursor_size))?;
                let words = prefix.and_then(|prefix| Ok((prefix, cursor?)));
                with(&mut caller, words, async |stores, (prefix, cursor)| {
                    let cursor = Some(cursor.as_str()).filter(|cursor| !cursor.is_empty());
                    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                    let page = stores.run(store, async |store| store.list(&prefix, cursor, limit).await);
                    let page = page.await?;
                    keep(stores, records::page(&page))
                })
                .await
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "get_many",
        |mut caller: Caller<'_, State>, (store, keys, size): (u32, u32, u32)| {
            Box::new(async move {
                let keys = texts(&mut caller, (keys, size))?;
                with(&mut caller, keys, async |stores, keys| {
                    let values = stores.run(store, async |store| store.get_many(&keys).await).await?;
                    keep(stores, records::values(&values))
                })
                .await
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "set_many",
        |mut caller: Caller<'_, State>, (store, entries, size): (u32, u32, u32)| {
            Box::new(async move {
                let entries = entries_of(&mut caller, (entries, size))?;
                with(&mut caller, entries, async |stores, entries| {
                    stores.run(store, async |store| store.set_many(entries).await).await.map(|()| 0)
                })
                .await
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "delete_many",
        |mut caller: Caller<'_, State>, (store, keys, size): (u32, u32, u32)| {
            Box::new(async move {
                let keys = texts(&mut caller, (keys, size))?;
                with(&mut caller, keys, async |stores, keys| {
                    stores.run(store, async |store| store.delete_many(keys).await).await.map(|()| 0)
                })
                .await
            })
        },
    )?;
    Ok(())
}

/// Copies the value into the buffer as far as it fits, and returns its whole length. The rest is in `result`.
async fn get(
    mut caller: Caller<'_, State>,
    store: u32,
    key: Slice,
    buffer: Slice,
    version: u32,
) -> Result<i32> {
    let key = text(&mut caller, key)?;
    let mut found = None;
    let code = with(&mut caller, key, async |stores, key| {
        found = stores.run(store, async |store| store.get(&key).await).await?;
        Ok(0)
    });
    let code = code.await?;
    if code != 0 {
        return Ok(code);
    }
    let Some(Versioned { value, version: now, .. }) = found else { return Ok(ABSENT) };
    put(&mut caller, version, &now.to_le_bytes())?;
    let length = copy(&mut caller, &value, buffer)?;
    let fits = value.len() <= usize::try_from(buffer.1)?;
    let stores = caller.data_mut().stores()?;
    stores.result = value;
    match charge(caller.data_mut())? {
        // What the guest has already need not be kept for it.
        Err(failure) if !fits => Ok(caller.data_mut().stores()?.settle(Err(failure))),
        Err(_) | Ok(()) => Ok(length),
    }
}

/// Sets a value and writes its version. If the condition does not hold, the version is that of the current value, which
/// is in `result`.
async fn set(
    mut caller: Caller<'_, State>,
    store: u32,
    (key, value): (Slice, Slice),
    (ttl, condition): (Option<Duration>, Option<Condition>),
    version: u32,
) -> Result<i32> {
    let key = text(&mut caller, key)?;
    let value = match reserve(caller.data_mut(), value.1)? {
        Ok(()) => bytes(&mut caller, value, MAX_VALUE)?,
        Err(failure) => Err(failure),
    };
    let condition = condition.ok_or_else(|| invalid("no such condition"));
    let words = key.and_then(|key| Ok((key, value?, condition?)));
    let mut written = None;
    let code = with(&mut caller, words, async |stores, (key, value, condition)| {
        let set = stores.run(store, async |store| store.set(&key, value, ttl, condition).await);
        let set = set.await?;
        if let Swapped::Stale(Some(current)) = &set {
            stores.result = current.value.clone();
        }
        written = Some(set);
        Ok(0)
    });
    let code = code.await?;
    match written.filter(|_| code == 0) {
        None => Ok(code),
        Some(Swapped::Written(now)) => put(&mut caller, version, &now.to_le_bytes()).map(|()| WRITTEN),
        Some(Swapped::Stale(None)) => Ok(STALE_ABSENT),
        Some(Swapped::Stale(Some(Versioned { version: now, .. }))) => {
            put(&mut caller, version, &now.to_le_bytes()).map(|()| STALE)
        }
    }
}

/// Runs an operation on what was read from the guest's memory, and charges the job for its result.
async fn with<T>(
    caller: &mut Caller<'_, State>,
    read: Result<T, StoreFailure>,
    operate: impl AsyncFnOnce(&mut GuestStores, T) -> Result<i32, StoreFailure>,
) -> Result<i32> {
    let stores = caller.data_mut().stores()?;
    let outcome = match read {
        Ok(read) => operate(stores, read).await,
        Err(failure) => Err(failure),
    };
    let charged = charge(caller.data_mut())?;
    let outcome = outcome.and_then(|code| charged.map(|()| code));
    Ok(caller.data_mut().stores()?.settle(outcome))
}

/// Charges the job for the result that is kept for it. A result that it has no memory for is dropped.
fn charge(state: &mut State) -> Result<Result<(), StoreFailure>> {
    let bytes = state.stores()?.result.len();
    if state.meter.keep(KeptFor::Store, charged(bytes)) {
        return Ok(Ok(()));
    }
    state.stores()?.result = Bytes::new();
    Ok(Err(no_memory(bytes)))
}

/// Charges the job for what an operation takes to the store, before it is copied. The bytes wait there for the operations
/// of others, and the charge ends with the operation.
fn reserve(state: &mut State, bytes: u32) -> Result<Result<(), StoreFailure>> {
    // The result of the operation before is not kept any longer, nor charged.
    state.stores()?.result = Bytes::new();
    let bytes = usize::try_from(bytes)?.min(MAX_BATCH_BYTES);
    let is_charged = state.meter.keep(KeptFor::Store, charged(bytes));
    Ok(if is_charged { Ok(()) } else { Err(no_memory(bytes)) })
}

/// Keeps a result for the guest and returns its length.
fn keep(stores: &mut GuestStores, result: Bytes) -> Result<i32, StoreFailure> {
    let length = i32::try_from(result.len()).map_err(|_| invalid("the result is too large"))?;
    stores.result = result;
    Ok(length)
}

/// Reads a text from the guest's memory.
///
/// # Errors
/// It lies outside the memory. A text that is too long or not UTF-8 is a failure that the guest sees.
fn text(caller: &mut Caller<'_, State>, at: Slice) -> Result<Result<String, StoreFailure>> {
    Ok(piece(caller, at, MAX_KEY)?.and_then(records::text))
}

/// Copies bytes from the guest's memory.
fn bytes(caller: &mut Caller<'_, State>, at: Slice, max: usize) -> Result<Result<Bytes, StoreFailure>> {
    Ok(piece(caller, at, max)?.map(Bytes::copy_from_slice))
}

/// Finds bytes in the guest's memory.
fn piece<'c>(
    caller: &'c mut Caller<'_, State>,
    (at, size): Slice,
    max: usize,
) -> Result<Result<&'c [u8], StoreFailure>> {
    let (at, size) = (usize::try_from(at)?, usize::try_from(size)?);
    if size > max {
        return Ok(Err(invalid(&format!("{size} bytes are too many: {max} at most"))));
    }
    let whole = memory(caller)?.data(&*caller);
    let piece = at.checked_add(size).and_then(|end| whole.get(at..end));
    let piece =
        piece.with_context(|| format!("{MODULE}: {size} bytes at {at} are not in the module's memory"))?;
    Ok(Ok(piece))
}

/// Reads a list of texts from the guest's memory.
fn texts(caller: &mut Caller<'_, State>, at: Slice) -> Result<Result<Vec<String>, StoreFailure>> {
    Ok(piece(caller, at, MAX_BATCH_BYTES)?.and_then(records::texts))
}

/// Reads a list of keys and values, which take turns, for a write.
fn entries_of(
    caller: &mut Caller<'_, State>,
    at: Slice,
) -> Result<Result<Vec<(String, Bytes)>, StoreFailure>> {
    match reserve(caller.data_mut(), at.1)? {
        Ok(()) => Ok(piece(caller, at, MAX_BATCH_BYTES)?.and_then(records::entries)),
        Err(failure) => Ok(Err(failure)),
    }
}

/// Copies bytes into the guest's memory as far as they fit, and returns how many there are.
fn copy(caller: &mut Caller<'_, State>, bytes: &[u8], (at, size): Slice) -> Result<i32> {
    let fits = bytes.len().min(usize::try_from(size)?);
    memory(caller)?.write(&mut *caller, usize::try_from(at)?, &bytes[..fits])?;
    Ok(i32::try_from(bytes.len())?)
}

/// Writes a number into the guest's memory.
fn put(caller: &mut Caller<'_, State>, at: u32, number: &[u8]) -> Result<()> {
    Ok(memory(caller)?.write(&mut *caller, usize::try_from(at)?, number)?)
}

fn memory(caller: &mut Caller<'_, State>) -> Result<Memory> {
    core_state::memory_for(caller, MODULE)
}
