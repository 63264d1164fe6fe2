//! Converts wasmtime errors and exits into `Status` or `Fault`.

use wasmtime::{FrameInfo, PoolConcurrencyLimitError, ThrownException, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::call_size;
use super::handles;
use super::memory_meter::{Meter, shortage};
use crate::job::{Fault, Status};
use crate::observe::{ByteCount, brief};

/// Maximum bytes of a reported name: a module's names can have any length.
const NAME: usize = 200;

/// Maximum bytes of a reported backtrace: wasmtime's 20 frames, with names and positions.
const STACK: usize = 8 << 10;

/// Maximum functions reported of one frame, which may have any number inlined.
const INLINED: usize = 20;

/// Converts the outcome of a guest. A guest that traps has run out of memory, whatever the trap says, if its latest
/// growth was refused. `handles` is its maximum number of handles.
pub(in crate::wasm) fn conclude(
    outcome: wasmtime::Result<()>,
    meter: &Meter,
    handles: usize,
) -> Result<Status, Fault> {
    let error = match outcome {
        Ok(()) => return Ok(Status::OK),
        Err(error) => error,
    };
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return match meter.fault() {
            // The runtimes of Python, Go, Ruby and JavaScript exit like this when they run out of memory.
            Some(fault) if exit.0 != 0 => Err(fault),
            Some(_) | None => Ok(Status::from(exit.0)),
        };
    }
    // One of our own streams has failed with a fault while the guest used it.
    let error = match error.downcast::<Fault>() {
        Ok(fault) => return Err(fault),
        Err(error) => error,
    };
    if let Some(fault) = meter.fault() {
        return Err(fault);
    }
    // Without a backtrace, no guest ran: the host had no memory for its instance.
    if error.downcast_ref::<WasmBacktrace>().is_none()
        && let Some(said) = shortage(&error)
    {
        return Err(Fault::NoMemory(said));
    }
    if handles::is_exceeded(&error) {
        return Err(Fault::TooManyHandles(handles));
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Err(Fault::Host(anyhow::anyhow!("the pool of instances is exhausted: raise `jobs`")));
    }
    let stack = error.downcast_ref::<WasmBacktrace>().map(frames).unwrap_or_default();
    // The guest's own message is on its stderr, where the engine looks for it.
    if error.is::<ThrownException>() {
        return Err(Fault::trapped("it has thrown an exception that it does not catch", stack));
    }
    if call_size::is_exceeded(&error) {
        let max = ByteCount(call_size::MOST as u64);
        return Err(Fault::trapped(format_args!("one call passes more than {max}: pass it in parts"), stack));
    }
    Err(match error.downcast_ref::<Trap>() {
        Some(trap) => Fault::trapped(trap.to_string().trim_start_matches("wasm trap: "), stack),
        // The text may contain words of the guest.
        None => Fault::trapped(format_args!("{:#}", error.root_cause()), stack),
    })
}

/// Converts a wasmtime error for other modules, with all its causes on one line.
pub(in crate::wasm) fn ours(error: wasmtime::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

/// Formats a guest's backtrace, one line a frame, innermost frame first. With debug information, inlined functions have
/// lines of their own, and all lines have positions.
fn frames(backtrace: &WasmBacktrace) -> String {
    let mut lines = Vec::new();
    for (number, frame) in backtrace.frames().iter().enumerate() {
        let own = frame.func_name().map_or_else(|| self::number(frame), readable);
        if frame.symbols().is_empty() {
            lines.push(format!("{number:>3}: {own}"));
        }
        for symbol in frame.symbols().iter().take(INLINED) {
            let name = symbol.name().map_or_else(|| own.clone(), readable);
            lines.push(match symbol.file().zip(symbol.line()) {
                Some((file, line)) => format!("{number:>3}: {name} at {}:{line}", place(file)),
                None => format!("{number:>3}: {name}"),
            });
        }
    }
    within(short(&lines), STACK)
}

/// Joins lines up to `max` bytes, and appends how many were left out.
fn within(lines: &[String], max: usize) -> String {
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        if text.len() + line.len() > max {
            return format!("{text}  … {} more\n", lines.len() - number);
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Returns the function names of a backtrace, outermost first, including inlined functions.
pub(in crate::wasm) fn functions(backtrace: &WasmBacktrace) -> Vec<String> {
    let own = |frame: &FrameInfo| frame.func_name().map_or_else(|| number(frame), readable);
    let mut names = Vec::new();
    for frame in backtrace.frames() {
        let symbols = frame.symbols().iter().take(INLINED);
        names.extend(symbols.map(|symbol| symbol.name().map_or_else(|| own(frame), readable)));
        if frame.symbols().is_empty() {
            names.push(own(frame));
        }
    }
    short(&names).iter().rev().cloned().collect()
}

/// Formats a function without a name.
fn number(frame: &FrameInfo) -> String {
    format!("function {}", frame.func_index())
}

/// Leaves out what Rust's own backtraces leave out: the frames that raise a panic and those that call `main`. Functions
/// with these two names mark them.
fn short(lines: &[String]) -> &[String] {
    let marked = |mark: &str| lines.iter().rposition(|line| line.contains(mark));
    let begin = marked("__rust_end_short_backtrace").map_or(0, |at| at + 1);
    let end = marked("__rust_begin_short_backtrace").unwrap_or(lines.len());
    match lines.get(begin..end) {
        Some(own) if !own.is_empty() => own,
        Some(_) | None => lines,
    }
}

/// Shortens a file name. Rust's own sources lose the build prefix, which exists on no other machine.
fn place(file: &str) -> String {
    let own = file.strip_prefix("/rustc/").and_then(|rest| Some(rest.split_once('/')?.1));
    brief(own.unwrap_or(file), NAME)
}

/// Demangles and shortens a name, which may be anything that the module says.
fn readable(name: &str) -> String {
    brief(format_args!("{:#}", rustc_demangle::demangle(name)), NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_cut_down_to_the_guest_s_own_functions() {
        let lines = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let whole = lines(&[
            "abort",
            "x::__rust_end_short_backtrace",
            "inner",
            "main",
            "y::__rust_begin_short_backtrace",
            "_start",
        ]);
        assert_eq!(short(&whole), ["inner", "main"]);
        assert_eq!(short(&whole[2..4]), ["inner", "main"]);
        assert_eq!(short(&whole[..2]), ["abort", "x::__rust_end_short_backtrace"]);
        assert_eq!(place("/rustc/abc/library/std/src/rt.rs"), "library/std/src/rt.rs");
    }

    #[test]
    fn a_stack_is_told_within_its_bounds_whatever_its_names_are() {
        let name = readable(&"é".repeat(60_000));
        assert_eq!(name, format!("{}…", "é".repeat(NAME / 2)));
        assert_eq!(place(&"x".repeat(60_000)).len(), NAME + '…'.len_utf8());

        let lines = vec![name; 100];
        let told = within(&lines, STACK);

        let whole = STACK / (lines[0].len() + 1);
        assert!(told.ends_with(&format!("\n  … {} more\n", 100 - whole)), "{told}");
        assert!(told.len() < STACK + 32);
        assert_eq!(within(&lines[..2], STACK), format!("{0}\n{0}\n", lines[0]));
    }
}
