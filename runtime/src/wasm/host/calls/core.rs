//! `portcullis_job_v1`, the functions through which a core module calls jobs.
//!
//! Every function returns -1 if it fails; `error` then returns the reason. Texts are UTF-8, in the
//! memory that the module exports as `memory`.

use bytes::Bytes;
use wasmtime::error::Context as _;
use wasmtime::{Caller, Linker, Memory, Result};

use super::failure::Failure;
use super::{CalledEnd, Calling};
use crate::wasm::host::core_state::{self, State};

/// The name of the module that the functions are imported from.
pub(crate) const MODULE: &str = "portcullis_job_v1";

/// Bytes that one call moves at most: the capacity of the pipes.
const PIECE: usize = 64 << 10;

/// Added to the exit status of a job that ended with a fault.
const FAULT: i32 = 256;

/// The bits that `poll` returns: which side of a job is ready.
const READ: i32 = 1;
const WRITE: i32 = 2;

/// Adds the functions to a linker.
pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    link_making(linker)?;
    link_running(linker)?;
    linker.func_wrap(MODULE, "drop", |mut caller: Caller<'_, State>, job: u32| -> Result<i32> {
        let (calling, _) = caller.data_mut().calls()?;
        calling.forget(job);
        Ok(0)
    })?;
    linker.func_wrap(
        MODULE,
        "error",
        |mut caller: Caller<'_, State>, at: u32, size: u32| -> Result<i32> {
            let text = caller.data_mut().calls()?.1.0.clone();
            let fits = text.len().min(usize::try_from(size)?);
            memory(&mut caller)?.write(&mut caller, usize::try_from(at)?, &text.as_bytes()[..fits])?;
            Ok(i32::try_from(text.len())?)
        },
    )?;
    Ok(())
}

/// Links the functions that prepare and start a job. None of them waits.
fn link_making(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(MODULE, "job", |mut caller: Caller<'_, State>, at: u32, size: u32| -> Result<i32> {
        let name = text(&mut caller, at, size)?;
        with(&mut caller, |calling| Ok(i32::try_from(calling.open(name?)?).unwrap_or(-1)))
    })?;
    linker.func_wrap(
        MODULE,
        "arg",
        |mut caller: Caller<'_, State>, job: u32, at: u32, size: u32| -> Result<i32> {
            let value = text(&mut caller, at, size)?;
            with(&mut caller, |calling| calling.arg(job, value?).map(|()| 0))
        },
    )?;
    linker.func_wrap(
        MODULE,
        "env",
        |mut caller: Caller<'_, State>,
         job: u32,
         name: u32,
         name_size: u32,
         value: u32,
         value_size: u32|
         -> Result<i32> {
            let name = text(&mut caller, name, name_size)?;
            let value = text(&mut caller, value, value_size)?;
            with(&mut caller, |calling| calling.env(job, name?, value?).map(|()| 0))
        },
    )?;
    linker.func_wrap(MODULE, "start", |mut caller: Caller<'_, State>, job: u32| -> Result<i32> {
        with(&mut caller, |calling| calling.start(job).map(|()| 0))
    })?;
    linker.func_wrap(MODULE, "close", |mut caller: Caller<'_, State>, job: u32| -> Result<i32> {
        with(&mut caller, |calling| calling.close(job).map(|()| 0))
    })?;
    Ok(())
}

/// Links the functions that may wait. The guest yields meanwhile and uses no processor time.
fn link_running(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap_async(
        MODULE,
        "write",
        |caller: Caller<'_, State>, (job, at, size): (u32, u32, u32)| Box::new(write(caller, job, at, size)),
    )?;
    linker.func_wrap_async(
        MODULE,
        "read",
        |caller: Caller<'_, State>, (job, at, size): (u32, u32, u32)| Box::new(read(caller, job, at, size)),
    )?;
    linker.func_wrap_async(MODULE, "poll", |mut caller: Caller<'_, State>, (job,): (u32,)| {
        Box::new(async move {
            let (calling, last) = caller.data_mut().calls()?;
            let ready = calling.ready(job).await;
            let flags = |side: bool, flag: i32| if side { flag } else { 0 };
            Ok(last.settle(ready.map(|ready| flags(ready.read, READ) | flags(ready.write, WRITE))))
        })
    })?;
    linker.func_wrap_async(MODULE, "wait", |mut caller: Caller<'_, State>, (job,): (u32,)| {
        Box::new(async move {
            let (calling, last) = caller.data_mut().calls()?;
            let end = match calling.ended(job).await {
                Ok(CalledEnd { status, fault: None }) => Ok(i32::from(status.0)),
                Ok(CalledEnd { status, fault: Some(failure) }) => {
                    last.0 = failure.to_string();
                    Ok(FAULT + i32::from(status.0))
                }
                Err(failure) => Err(failure),
            };
            Ok(last.settle(end))
        })
    })?;
    Ok(())
}

/// Waits for room, writes at least one byte, and returns how many it wrote.
async fn write(mut caller: Caller<'_, State>, job: u32, at: u32, size: u32) -> Result<i32> {
    let (calling, last) = caller.data_mut().calls()?;
    let room = match calling.room(job).await {
        Ok(room) => room.min(PIECE).min(usize::try_from(size)?),
        Err(failure) => return Ok(last.settle(Err(failure))),
    };
    let memory = memory(&mut caller)?;
    let bytes = piece(memory.data(&caller), at, room)?;
    let bytes = Bytes::copy_from_slice(bytes);
    with(&mut caller, |calling| calling.put(job, &bytes).map(|()| i32::try_from(room).unwrap_or(-1)))
}

/// Waits for data, reads at least one byte, and returns how many it read, or 0 at the end.
async fn read(mut caller: Caller<'_, State>, job: u32, at: u32, size: u32) -> Result<i32> {
    let (calling, last) = caller.data_mut().calls()?;
    let bytes = match calling.filled(job).await {
        Ok(_) => calling.take(job, usize::try_from(size)?.min(PIECE)),
        Err(failure) => Err(failure),
    };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(failure) => return Ok(last.settle(Err(failure))),
    };
    memory(&mut caller)?.write(&mut caller, usize::try_from(at)?, &bytes)?;
    Ok(i32::try_from(bytes.len())?)
}

fn with(
    caller: &mut Caller<'_, State>,
    act: impl FnOnce(&mut Calling) -> Result<i32, Failure>,
) -> Result<i32> {
    let (calling, last) = caller.data_mut().calls()?;
    let outcome = act(calling);
    Ok(last.settle(outcome))
}

fn memory(caller: &mut Caller<'_, State>) -> Result<Memory> {
    core_state::memory_for(caller, MODULE)
}

/// Reads a string from the guest's memory.
///
/// # Errors
/// It lies outside the memory. A string that is too long or not UTF-8 is a `Failure`, which the guest sees.
fn text(caller: &mut Caller<'_, State>, at: u32, size: u32) -> Result<Result<String, Failure>> {
    let memory = memory(caller)?;
    let size = usize::try_from(size)?;
    if size > super::LONGEST {
        return Ok(Err(Failure::too_long(super::LONGEST)));
    }
    let bytes = piece(memory.data(&*caller), at, size)?;
    let text = String::from_utf8(bytes.to_vec());
    Ok(text.map_err(|_| Failure::malformed("a text that is not UTF-8".to_owned())))
}

fn piece(memory: &[u8], at: u32, size: usize) -> Result<&[u8]> {
    let at = usize::try_from(at)?;
    let end = at.checked_add(size);
    let piece = end.and_then(|end| memory.get(at..end));
    piece.with_context(|| format!("{MODULE}: {size} bytes at {at} are not in the module's memory"))
}
