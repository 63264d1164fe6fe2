//! From what wasmtime says of an ended guest to what we say of it.

use std::fmt::Write as _;

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::job::{Fault, Status};

/// Turns the end of a guest into a status or a fault. `refused` says which memory limit the guest
/// has hit, if it has: a guest that traps after that ran out of memory, whatever the trap says.
pub(super) fn conclude(
    outcome: wasmtime::Result<()>,
    refused: impl FnOnce() -> Option<usize>,
) -> Result<Status, Fault> {
    let error = match outcome {
        Ok(()) => return Ok(Status::OK),
        Err(error) => error,
    };
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return Ok(Status::from(exit.0));
    }
    // A fault that one of our own streams raised while the guest used it.
    let error = match error.downcast::<Fault>() {
        Ok(fault) => return Err(fault),
        Err(error) => error,
    };
    if let Some(limit) = refused() {
        return Err(Fault::OutOfMemory(limit));
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Err(Fault::Host(anyhow::anyhow!("the pool of instances is exhausted: raise `jobs`")));
    }
    let stack = error.downcast_ref::<WasmBacktrace>().map(frames).unwrap_or_default();
    let message = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string().trim_start_matches("wasm trap: ").to_owned(),
        None => format!("{:#}", error.root_cause()),
    };
    Err(Fault::Trapped { message, stack })
}

/// Takes an error of wasmtime's out of this layer, with all its causes in one line.
pub(super) fn ours(error: wasmtime::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

/// Writes a guest's stack, innermost frame first, a frame a line.
fn frames(backtrace: &WasmBacktrace) -> String {
    let mut text = String::new();
    for (number, frame) in backtrace.frames().iter().enumerate() {
        let name = frame.func_name().map(|name| format!("{:#}", rustc_demangle::demangle(name)));
        let name = name.map_or_else(|| format!("function {}", frame.func_index()), |name| plain(&name));
        let place = frame.symbols().first().and_then(|symbol| Some((symbol.file()?, symbol.line()?)));
        let _infallible = match place {
            Some((file, line)) => writeln!(text, "{number:>3}: {name} at {}:{line}", plain(file)),
            None => writeln!(text, "{number:>3}: {name}"),
        };
    }
    text
}

/// Escapes what could forge a line of the log: names are whatever the module says they are.
fn plain(name: &str) -> String {
    let escaped = |letter: char| -> String {
        if letter.is_control() { letter.escape_default().collect() } else { letter.into() }
    };
    name.chars().map(escaped).collect()
}
