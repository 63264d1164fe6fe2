//! The loader's work for versions in use: keeps their code, renews their secrets, hands on their directories.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};

use anyhow::{Context as _, Result};

use super::draft::Uploaded;
use super::handler::HandlerResources;
use super::loader::Loader;
use super::prepared::{self, has_kept, variables};
use crate::catalog::Catalog;
use crate::config::HandlerConfig;
use crate::confine::Untrusted;
use crate::job::{HandlerVersion, Name};
use crate::wasm::Digest;

impl Loader {
    /// Takes over the `list` that the process before this one wrote with [`Loader::tell`].
    ///
    /// # Errors
    /// The list cannot be parsed, or a process or directory in it cannot be opened.
    pub fn after(self, list: Option<OwnedFd>) -> Result<Loader> {
        let Some(list) = list else { return Ok(self) };
        let known =
            self.ground.known.after(list).context("what handlers of the process before may write to")?;
        Ok(Loader { ground: HandlerResources { known, ..self.ground }, ..self })
    }

    /// Writes the list of directories that handlers of this process may write to. The next process of an upgrade reads
    /// it, because jobs of this one go on beside it.
    ///
    /// # Errors
    /// No descriptor or memory is left, or the next process could not find a directory because it was unmounted.
    pub fn tell(&self) -> Result<OwnedFd> {
        self.ground.known.tell()
    }

    /// Leaves the stores that belong to one process to the next one, when it has taken over.
    pub fn leave_stores(&self) {
        self.ground.stores.leave();
    }

    /// Evicts code from the cache beyond its limit, except the code in use. In use is the code of the live catalog, of
    /// versions with running jobs or on trial, and of `past`, the versions for a rollback. Reads a directory.
    pub fn tidy(&self, past: impl IntoIterator<Item = Uploaded>) {
        // One at a time: with an older view of what is in use, a concurrent call would evict code that was just
        // compiled.
        let _one_at_a_time = self.ground.known.tidying.lock().unwrap_or_else(PoisonError::into_inner);
        self.ground.known.prune();
        let mut in_use: HashSet<Digest> = past.into_iter().map(|Uploaded { digest, .. }| digest).collect();
        in_use.extend(self.last().code.keys());
        in_use.extend(self.ground.known.in_use().versions.values().map(|version| version.digest));
        self.sandbox.tidy(in_use.iter());
    }

    /// Makes new versions of the handlers whose secrets have changed, with the same modules and settings. A handler
    /// whose secret cannot be read is an error of its own and does not affect the others.
    pub fn refreshed(&self, serving: &Catalog) -> Vec<(Name, Result<Arc<HandlerVersion>>)> {
        let refresh = |(name, entry): (&Name, &Arc<HandlerVersion>)| {
            let has_secret = |config: &HandlerConfig| {
                let has_password = config.stores.iter().any(|grant| grant.store.password.is_some())
                    || config.databases.iter().any(|grant| grant.database.password.is_some());
                !config.secrets.is_empty() || has_password
            };
            let config = self.configured(name).filter(has_secret)?;
            let now = variables(&config).and_then(|env| Ok((env, prepared::kept(&config)?)));
            let made = match now {
                Ok((env, kept)) if env == entry.env && has_kept(entry, &kept) => return None,
                Ok(_) => self.version(name, self.module(entry)?),
                Err(failure) => Err(failure),
            };
            Some((name.clone(), made))
        };
        serving.handlers.iter().filter_map(refresh).collect()
    }

    /// Replaces `before` by `entry`, which [`Loader::refreshed`] made, so that the next reload finds it unchanged.
    pub fn adopt_refreshed(&self, before: &Arc<HandlerVersion>, entry: &Arc<HandlerVersion>) {
        let mut last = self.last();
        // If the handler was swapped since the load, the version that serves is not the loaded one.
        if let Some(made) = last.made.get_mut(&entry.name).filter(|made| Arc::ptr_eq(&made.entry, before)) {
            made.entry = entry.clone();
        }
    }

    /// Returns the module of a version that this loader has made.
    pub fn module(&self, entry: &Arc<HandlerVersion>) -> Option<Uploaded> {
        self.ground.known.module(entry)
    }

    /// Lists the directories that handlers may write to: these handlers, and versions whose jobs still run.
    ///
    /// # Errors
    /// As [`Untrusted::of`].
    pub fn untrusted(&self, handlers: &[HandlerConfig]) -> Result<Untrusted> {
        self.ground.known.untrusted(handlers)
    }

    /// As [`untrusted`](Loader::untrusted), with the mounts of the current handlers and the directories that routes
    /// serve. They are granted again even if a handler has displaced them.
    ///
    /// # Errors
    /// As [`Untrusted::of`].
    pub fn untrusted_and_held(&self, handlers: &[HandlerConfig]) -> Result<Untrusted> {
        let mut untrusted = self.untrusted(handlers)?;
        self.last().hold(&mut untrusted);
        Ok(untrusted)
    }
}
