//! The code of one load: of all handlers that share a module, one compiles it and the others wait.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, Result, anyhow};

use super::handler::show;
use super::progress::CompileCount;
use crate::operator_file::{self, ReadError, ReadFile};
use crate::wasm::compile::CompileLimits;
use crate::wasm::{Code, Digest};

/// The code of a module, or why it does not compile.
type CompileOutcome = std::result::Result<Code, String>;

/// Code by the digest of its module.
pub(super) struct Codes {
    /// The limits on compiling a module.
    pub(super) limits: CompileLimits,
    /// Counts the modules that are compiled.
    pub(super) count: CompileCount,
    places: Mutex<HashMap<Digest, Arc<OnceLock<CompileOutcome>>>>,
}

impl Codes {
    /// Starts a load without any code.
    pub(super) fn new(limits: CompileLimits) -> Codes {
        Codes { limits, count: CompileCount::new(), places: Mutex::default() }
    }

    /// Returns the code of a module. The first caller compiles it; other callers block until it is there.
    pub(super) fn of(&self, digest: Digest, compile: impl FnOnce() -> CompileOutcome) -> CompileOutcome {
        let place =
            self.places.lock().unwrap_or_else(PoisonError::into_inner).entry(digest).or_default().clone();
        place.get_or_init(compile).clone()
    }

    /// Returns the code of all modules that compiled.
    pub(super) fn compiled(self) -> HashMap<Digest, Code> {
        let codes = self.places.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter();
        codes.filter_map(|(digest, code)| Some((digest, code.get()?.clone().ok()?))).collect()
    }
}

/// Reads a module of at most `max` bytes.
///
/// # Errors
/// It cannot be read, or is larger.
pub(super) fn read(path: &Path, max: u64) -> Result<ReadFile> {
    let read = operator_file::read(path, max).map_err(|refusal| match refusal {
        ReadError::TooLarge(_) => anyhow!("{refusal}: raise compile.module, or strip its debug information"),
        other => anyhow!(other.to_string()),
    });
    read.with_context(|| format!("read {}", show(path)))
}
