//! What the loader does about versions that are in use: keeps their code, renews their secrets, passes their directories on.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};

use anyhow::{Context as _, Result};

use super::draft::Uploaded;
use super::handler::HandlerResources;
use super::loader::Loader;
use super::prepared::variables;
use crate::catalog::Catalog;
use crate::config::{self, HandlerConfig};
use crate::confine::Untrusted;
use crate::job::{HandlerVersion, Name};
use crate::wasm::Digest;

impl Loader {
    /// Goes on from the process before this one; `list` is what it has told by [`Loader::tell`].
    ///
    /// # Errors
    /// It is no such list, or what it names cannot be held.
    pub fn after(self, list: Option<OwnedFd>) -> Result<Loader> {
        let Some(list) = list else { return Ok(self) };
        let known =
            self.ground.known.after(list).context("what handlers of the process before may write to")?;
        Ok(Loader { ground: HandlerResources { known, ..self.ground }, ..self })
    }

    /// Writes down for the next process of an upgrade what handlers of this one may write to, which goes on with its jobs.
    ///
    /// # Errors
    /// No descriptor or memory is left; the next could not find a directory, which was unmounted.
    pub fn tell(&self) -> Result<OwnedFd> {
        self.ground.known.tell()
    }

    /// Has the cache keep the code of what is in use here: the catalog that serves, versions that jobs run on or that are on
    /// trial, and those that a rollback may go back to, which are `past`. Reads a directory.
    pub fn tidy(&self, past: impl IntoIterator<Item = Uploaded>) {
        // Of two at once, the later one must see what the earlier one saw, or it would evict what has just been compiled.
        let _one_at_a_time = self.ground.known.tidying.lock().unwrap_or_else(PoisonError::into_inner);
        self.ground.known.prune();
        let mut in_use: HashSet<Digest> = past.into_iter().map(|Uploaded { digest, .. }| digest).collect();
        in_use.extend(self.last().code.keys());
        in_use.extend(self.ground.known.in_use().versions.values().map(|version| version.digest));
        self.sandbox.tidy(in_use.iter());
    }

    /// Makes those versions anew whose secrets have changed, with the same modules and settings. A handler whose secret
    /// cannot be read is an error of its own and does not affect the others.
    pub fn refreshed(&self, serving: &Catalog) -> Vec<(Name, Result<Arc<HandlerVersion>>)> {
        let refresh = |(name, entry): (&Name, &Arc<HandlerVersion>)| {
            let config = self.configured(name).filter(|config| !config.secrets.is_empty())?;
            let made = match variables(&config) {
                Ok(env) if env == entry.env => return None,
                Ok(_) => self.version(name, self.module(entry)?),
                Err(failure) => Err(failure),
            };
            Some((name.clone(), made))
        };
        serving.handlers.iter().filter_map(refresh).collect()
    }

    /// Goes on from `entry`, made by [`Loader::refreshed`], instead of `before`, so that the next reload leaves it as it is.
    pub fn adopt_refreshed(&self, before: &Arc<HandlerVersion>, entry: &Arc<HandlerVersion>) {
        let mut last = self.last();
        // A version that was swapped in is not the one that was loaded.
        if let Some(made) = last.made.get_mut(&entry.name).filter(|made| Arc::ptr_eq(&made.entry, before)) {
            made.entry = entry.clone();
        }
    }

    /// Returns the module of a version that this has made.
    pub fn module(&self, entry: &Arc<HandlerVersion>) -> Option<Uploaded> {
        self.ground.known.module(entry)
    }

    /// Finds the directories that handlers may write to: these, and those whose jobs are not over.
    ///
    /// # Errors
    /// Those of [`Untrusted::of`].
    pub fn untrusted(&self, handlers: &[HandlerConfig]) -> Result<Untrusted> {
        let mut untrusted = config::untrusted(handlers)?;
        self.ground.known.add_writable(&mut untrusted)?;
        Ok(untrusted)
    }
}
