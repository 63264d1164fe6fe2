//! Where the daemon keeps data of its own, and where systemd leaves its credentials.

use std::path::PathBuf;

use anyhow::Result;

use super::model::{CacheDir, Config};
use crate::wasm::cache::CacheLocation;

/// Returns the directory of the service's credentials, if systemd set one.
pub fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

impl Config {
    /// Finds the directory of the cache. Returns `None` if the cache is off.
    ///
    /// # Errors
    /// There is no directory for a cache.
    pub fn cache_place(&self) -> Option<Result<CacheLocation>> {
        let var = |name: &str| std::env::var_os(name);
        match &self.cache {
            CacheDir::Off => None,
            CacheDir::Standard => Some(CacheLocation::standard(var)),
            CacheDir::At(dir) => Some(Ok(CacheLocation::at(dir.clone(), var))),
        }
    }

    /// Finds the scratch directory, for data that does not fit into memory.
    ///
    /// # Errors
    /// There is no directory for it.
    pub fn scratch_place(&self) -> Result<PathBuf> {
        match (&self.scratch, &self.cache) {
            (Some(dir), _) => Ok(dir.clone()),
            (None, CacheDir::At(cache)) => Ok(cache.join("scratch")),
            (None, CacheDir::Standard | CacheDir::Off) => {
                CacheLocation::scratch(|name| std::env::var_os(name))
            }
        }
    }
}
