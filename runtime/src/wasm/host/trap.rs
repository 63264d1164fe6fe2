//! From what wasmtime says of an ended guest to what we say of it.

use wasmtime::{FrameInfo, PoolConcurrencyLimitError, ThrownException, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::handles;
use super::meter::{Meter, shortage};
use crate::job::{Fault, Status};
use crate::observe::brief;

/// Bytes that are told of a name: a module has names as long as it likes.
const NAME: usize = 200;

/// Bytes that are told of a stack: wasmtime's 20 frames, with names and places.
const STACK: usize = 8 << 10;

/// Functions that are told of one frame, which may have any number inlined.
const INLINED: usize = 20;

/// Turns the end of a guest into a status or a fault. A guest that traps after it was refused memory, and has not grown
/// since, ran out of it, whatever the trap says; `handles` is how many it may have.
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
            // It gave up for want of memory, as the runtimes of Python, Go, Ruby and JavaScript do.
            Some(fault) if exit.0 != 0 => Err(fault),
            Some(_) | None => Ok(Status::from(exit.0)),
        };
    }
    // A fault that one of our own streams raised while the guest used it.
    let error = match error.downcast::<Fault>() {
        Ok(fault) => return Err(fault),
        Err(error) => error,
    };
    if let Some(fault) = meter.fault() {
        return Err(fault);
    }
    // No guest ran that could have a stack: its instance could not be made.
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
    // What it said of it stands on its stderr, where the engine looks.
    if error.is::<ThrownException>() {
        return Err(Fault::trapped("it has thrown an exception that nothing catches", stack));
    }
    Err(match error.downcast_ref::<Trap>() {
        Some(trap) => Fault::trapped(trap.to_string().trim_start_matches("wasm trap: "), stack),
        // Words of the guest may be in it.
        None => Fault::trapped(format_args!("{:#}", error.root_cause()), stack),
    })
}

/// Takes an error of wasmtime's out of this layer, with all its causes in one line.
pub(in crate::wasm) fn ours(error: wasmtime::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

/// Writes a guest's stack, innermost frame first, a frame a line. Where the module has debug
/// information, functions that were inlined have lines of their own, and all have their places.
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

/// Writes lines up to so many bytes, and says how many there is no room for.
fn within(lines: &[String], most: usize) -> String {
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        if text.len() + line.len() > most {
            return format!("{text}  … {} more\n", lines.len() - number);
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Names the functions of a stack, outermost first, those that were inlined among them.
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

/// Names a function that has no name.
fn number(frame: &FrameInfo) -> String {
    format!("function {}", frame.func_index())
}

/// Leaves out what Rust's own backtraces leave out: how a panic was raised, and how `main` was
/// reached, which are marked by functions of these names.
fn short(lines: &[String]) -> &[String] {
    let marked = |mark: &str| lines.iter().rposition(|line| line.contains(mark));
    let begin = marked("__rust_end_short_backtrace").map_or(0, |at| at + 1);
    let end = marked("__rust_begin_short_backtrace").unwrap_or(lines.len());
    match lines.get(begin..end) {
        Some(own) if !own.is_empty() => own,
        Some(_) | None => lines,
    }
}

/// Shows a file; of Rust's own, which nobody has under that name, only where it is in the library.
fn place(file: &str) -> String {
    let own = file.strip_prefix("/rustc/").and_then(|rest| Some(rest.split_once('/')?.1));
    brief(own.unwrap_or(file), NAME)
}

/// Shows a name, which is whatever the module says it is.
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
