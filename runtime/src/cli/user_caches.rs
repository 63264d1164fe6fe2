//! The compile cache and the scratch directory of the user, for verbs that do not serve.

use std::sync::Arc;

use anyhow::Result;

use crate::config::{CacheDir, Config};
use crate::scratch::Scratch;
use crate::wasm::cache::{self, Cache, CacheLocation};
use crate::wasm::compile::Compiler;
use crate::wasm::{Compilation, Stacks};

/// Compiles as a daemon with this configuration would, using its cache if the user can.
///
/// A directory that the configuration names is not created here: it would belong to this user, not to the daemon.
pub(super) fn of(config: &Config, stacks: Stacks) -> Compilation {
    let is_to_be_made = match &config.cache {
        CacheDir::Standard => true,
        CacheDir::At(dir) => dir.is_dir(),
        CacheDir::Off => false,
    };
    let place = config.cache_place().filter(|_| is_to_be_made);
    compilation(place.and_then(Result::ok), config.cache_size, stacks)
}

/// Compiles a module without a configuration, with the user's cache.
pub(super) fn of_user(stacks: Stacks) -> Compilation {
    compilation(CacheLocation::standard(|name| std::env::var_os(name)).ok(), Cache::SIZE, stacks)
}

/// Without a cache, compiling only takes longer, so that is not reported.
fn compilation(place: Option<CacheLocation>, size: u64, stacks: Stacks) -> Compilation {
    let cache = place.and_then(|place| Cache::open(&place, size).ok());
    Compilation { compiler: Compiler::child(), cache, stacks }
}

/// Removes the files of processes that were killed, as an interrupt kills a verb.
pub(super) fn swept(scratch: impl Into<Arc<Scratch>>) -> Arc<Scratch> {
    let scratch = scratch.into();
    scratch.sweep();
    scratch
}

/// Opens the user's scratch directory.
///
/// # Errors
/// No path is known for it, or other users can access it.
pub(super) fn scratch() -> Result<Arc<Scratch>> {
    let dir = cache::private_dir(&CacheLocation::scratch(|name| std::env::var_os(name))?)?;
    Ok(swept(Scratch::new(dir)))
}
