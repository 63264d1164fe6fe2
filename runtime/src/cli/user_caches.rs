//! What the user's caches hold, as verbs use it that serve nothing.

use std::sync::Arc;

use anyhow::Result;

use crate::config::{CacheDir, Config};
use crate::scratch::Scratch;
use crate::wasm::cache::{self, Cache, CacheLocation};
use crate::wasm::compile::Compiler;
use crate::wasm::{Compilation, Stacks};

/// Compiles as a daemon of this configuration does, with its cache if that is this user's.
///
/// A directory that the configuration names is the daemon's to make: it would have the wrong owner.
pub(super) fn of(config: &Config, stacks: Stacks) -> Compilation {
    let is_to_be_made = match &config.cache {
        CacheDir::Standard => true,
        CacheDir::At(dir) => dir.is_dir(),
        CacheDir::Off => false,
    };
    let place = config.cache_place().filter(|_| is_to_be_made);
    compilation(place.and_then(Result::ok), config.cache_size, stacks)
}

/// Compiles for a module that no configuration speaks of, with this user's cache.
pub(super) fn of_user(stacks: Stacks) -> Compilation {
    compilation(CacheLocation::standard(|name| std::env::var_os(name)).ok(), Cache::SIZE, stacks)
}

/// A cache that cannot be had costs time alone, and is no news in a terminal.
fn compilation(place: Option<CacheLocation>, size: u64, stacks: Stacks) -> Compilation {
    let cache = place.and_then(|place| Cache::open(&place, size).ok());
    Compilation { compiler: Compiler::child(), cache, stacks }
}

/// Removes what a process left that was ended before it could: an interrupt ends a verb so.
pub(super) fn swept(scratch: impl Into<Arc<Scratch>>) -> Arc<Scratch> {
    let scratch = scratch.into();
    scratch.sweep();
    scratch
}

/// Opens the user's directory for what does not last.
///
/// # Errors
/// There is no place for it, or others may use it.
pub(super) fn scratch() -> Result<Arc<Scratch>> {
    let dir = cache::private_dir(&CacheLocation::scratch(|name| std::env::var_os(name))?)?;
    Ok(swept(Scratch::new(dir)))
}
