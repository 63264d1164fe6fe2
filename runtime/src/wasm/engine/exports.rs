//! The interfaces by whose export the kind of a component is known.

/// What a program of WASI 0.2 exports.
pub(in crate::wasm) const PROGRAM_P2: &str = "wasi:cli/run@0.2";

/// What a program of WASI 0.3 exports.
pub(super) const PROGRAM_P3: &str = "wasi:cli/run@0.3";

/// What a component exports that answers HTTP as of WASI 0.2.
pub(in crate::wasm) const HTTP_P2: &str = "wasi:http/incoming-handler@0.2";

/// What a component exports that answers HTTP as of WASI 0.3.
pub(super) const HTTP_P3: &str = "wasi:http/handler@0.3";
