//! The text of `--version`.

use crate::observe::build_versions;

/// Returns `0.1.0 (commit 2f3c1a09d7e4, wasmtime 48.0.8)`. Without git at build time, the commit is left out.
pub(super) fn text() -> String {
    let commit = build_versions::COMMIT.map(|commit| format!("commit {commit}, ")).unwrap_or_default();
    format!("{} ({commit}wasmtime {})", build_versions::VERSION, build_versions::WASMTIME)
}
