//! The names of the exports that tell the kind of a component.

/// Exported by a program of WASI 0.2.
pub(in crate::wasm) const PROGRAM_P2: &str = "wasi:cli/run@0.2";

/// Exported by a program of WASI 0.3.
pub(super) const PROGRAM_P3: &str = "wasi:cli/run@0.3";

/// Exported by a component that answers HTTP through WASI 0.2.
pub(in crate::wasm) const HTTP_P2: &str = "wasi:http/incoming-handler@0.2";

/// Exported by a component that answers HTTP through WASI 0.3.
pub(in crate::wasm) const HTTP_P3: &str = "wasi:http/handler@0.3";
