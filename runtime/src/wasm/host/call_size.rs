//! The bound on the bytes that one call passes between a component and the host.

use wasmtime::Error;

/// Bytes that one call may copy between a guest and the host if it cannot be split: the strings and lists of
/// a component together, and random bytes. The host needs this much memory during the call. wasmtime's
/// default is 128 MiB.
pub(super) const MOST: usize = 16 << 20;

/// The end of wasmtime 48.0.8's message about a component whose call passes more. It has no error type.
const PASSED: &str = "fuel allocated for hostcalls has been exhausted";

/// The start of wasmtime-wasi 48.0.8's message about a component that asks for more random bytes.
const RANDOM: &str = "requested len ";

/// Reports whether a guest was ended because one of its calls exceeded [`MOST`].
pub(super) fn is_exceeded(error: &Error) -> bool {
    let said = error.root_cause().to_string();
    said.ends_with(PASSED) || said.starts_with(RANDOM)
}
