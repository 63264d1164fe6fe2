//! The cache of compiled code, kept between starts and authenticated before use.
//!
//! wasmtime runs deserialized code without checking it. Every entry is therefore treated as an attack until its MAC
//! is verified, on a sealed copy that cannot change any more. wasmtime's own cache has no authentication and is not
//! used. Failures of the cache cost time, but never prevent a start.
//!
//! Floors, lowest first: `private_directory`, `figures`, `names`; `evict`, `key`; `entry`, `lease`, `place`.

mod entry;
mod evict;
mod figures;
mod key;
mod lease;
mod names;
mod place;
mod private_directory;
#[cfg(test)]
mod tests;

pub(super) use entry::CodeIdentity;
pub use figures::Figures;
pub use place::CacheLocation;
pub use private_directory::{examine_private as examine_private_dir, make_private as private_dir};

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use rustix::fs::{
    AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, futimens, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use tracing::{debug, info, warn};

use self::key::Key;
use self::lease::Lease;
use self::names::draft_name;
use super::engine::artifact::Artifact;
use crate::observe::write_failures::CACHE;

/// A directory of compiled code. Several daemons may use it at once.
pub struct Cache {
    dir: OwnedFd,
    path: PathBuf,
    key: Key,
    /// The directory of the key and the leases. The names of entries depend on the key, so processes with the same
    /// key share their leases.
    leases: OwnedFd,
    lease: Mutex<Option<Lease>>,
    figures: Arc<Figures>,
}

impl Cache {
    /// The default size limit in bytes, including entries in use. A thousand handlers built with the SDK take half of
    /// it.
    pub const SIZE: u64 = 1 << 30;

    /// Opens a cache. Its directory and key are made if they do not exist.
    ///
    /// # Errors
    /// The directory or the key cannot be made, has another owner, or is accessible to other users.
    pub fn open(place: &CacheLocation, size: u64) -> Result<Cache> {
        let CacheLocation { dir: path, key } = place;
        place.check()?;
        let dir = private_directory::make_private(path)?;
        let home = key.parent().context("not the path of a file")?;
        let key = Key::open(key).with_context(|| format!("its key {}", key.display()))?;
        let leases = private_directory::make(home)?;
        let figures = Figures { max: size.into(), ..Figures::default() };
        let (path, lease) = (path.clone(), Mutex::default());
        Ok(Cache { dir, path, key, leases, lease, figures: Arc::new(figures) })
    }

    /// Returns the counters of the cache.
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    /// Sets the size limit in bytes for the next [`tidy`](Cache::tidy). Code in use is kept in any case.
    pub(super) fn resize(&self, size: u64) {
        self.figures.max.store(size, Ordering::Relaxed);
    }

    /// Publishes which entries this process uses, and evicts unused entries beyond the size limit.
    pub(super) fn tidy(&self, in_use: impl Iterator<Item = CodeIdentity>) {
        let own: BTreeSet<String> = in_use.map(|identity| identity.name(&self.key)).collect();
        if let Err(failure) = self.claim(own.clone()) {
            // Our own entries are still safe as long as only this process evicts.
            debug!(
                "{}: other processes are not told which entries are in use: {failure:#}",
                self.path.display()
            );
        }
        let evicted = lease::in_use(&self.leases).and_then(|mut in_use| {
            in_use.extend(own);
            evict::evict(&self.dir, self.figures.max(), &in_use)
        });
        match evicted {
            Ok(left) => {
                self.figures.entries.store(left.entries, Ordering::Relaxed);
                self.figures.bytes.store(left.bytes, Ordering::Relaxed);
                self.figures.evictions.fetch_add(left.evicted, Ordering::Relaxed);
            }
            Err(failure) => warn!("{}: nothing is evicted: {failure:#}", self.path.display()),
        }
    }

    /// Publishes to other processes which entries this process uses.
    fn claim(&self, entries: BTreeSet<String>) -> Result<()> {
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        if lease.as_ref().map_or(entries.is_empty(), |lease| lease.entries == entries) {
            return Ok(());
        }
        let next = Lease::make(&self.leases, entries)?;
        // Deleted only now, so one of the two leases exists at every moment.
        if let Some(before) = lease.replace(next) {
            before.end(&self.leases);
        }
        Ok(())
    }

    /// Checks that [`open`](Cache::open) would succeed. Makes nothing.
    ///
    /// # Errors
    /// As `open`.
    pub fn examine(place: &CacheLocation) -> Result<()> {
        place.check()?;
        private_directory::examine_private(&place.dir)?;
        Key::examine(&place.key).with_context(|| format!("its key {}", place.key.display()))
    }

    /// Finds code. Returns `None` if there is no entry, or if it is not authentic, which is logged.
    pub(super) fn get(&self, identity: &CodeIdentity) -> Option<Artifact> {
        let name = identity.name(&self.key);
        let found = self.read(&name, identity);
        let count = if matches!(found, Ok(Some(_))) { &self.figures.hits } else { &self.figures.misses };
        count.fetch_add(1, Ordering::Relaxed);
        match found {
            Ok(found) => found,
            Err(refusal) => {
                warn!("{}/{name} is deleted and not used: {refusal:#}", self.path.display());
                if let Err(failure) = self.delete(&name) {
                    warn!("{}/{name}: {failure:#}", self.path.display());
                }
                None
            }
        }
    }

    /// Reports whether an entry exists, without reading it.
    pub(super) fn has(&self, identity: &CodeIdentity) -> bool {
        statat(&self.dir, identity.name(&self.key), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Stores code. A failure is logged. Evicts nothing: while several modules are loaded, the last could otherwise
    /// evict the first.
    pub(super) fn put(&self, identity: &CodeIdentity, code: &Artifact) {
        match self.write(identity, code) {
            Ok(()) => {
                if let Some(failures) = CACHE.succeed() {
                    info!("compiled modules are kept again, {failures} were not");
                }
            }
            Err(failure) if CACHE.fail() => {
                warn!("a compiled module is not kept in {}: {failure:#}", self.path.display());
            }
            // Logged at the first failure.
            Err(_) => {}
        }
    }

    fn read(&self, name: &str, identity: &CodeIdentity) -> Result<Option<Artifact>> {
        // NONBLOCK: the file may be a FIFO, and opening one would block.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.dir, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(refusal) => return Err(refusal.into()),
        };
        anyhow::ensure!(file.metadata()?.is_file(), "it is no file");
        let code = entry::read(&self.key, identity, &file)?;
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        // Marks the entry as recently used. This may fail on a read-only file system.
        let _kept = futimens(&file, &Timestamps { last_access: now, last_modification: now });
        Ok(Some(code))
    }

    /// Writes an entry atomically.
    fn write(&self, identity: &CodeIdentity, code: &Artifact) -> Result<()> {
        let draft = draft_name()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(&self.dir, &draft, flags, Mode::RUSR | Mode::WUSR)?);
        let written = entry::write(&self.key, identity, code, &file).and_then(|()| file.sync_all());
        let named =
            written.and_then(|()| Ok(renameat(&self.dir, &draft, &self.dir, identity.name(&self.key))?));
        if named.is_err() {
            // If this fails too, the draft is deleted later as abandoned.
            let _left = unlinkat(&self.dir, &draft, AtFlags::empty());
        }
        Ok(named?)
    }

    fn delete(&self, name: &str) -> Result<()> {
        match unlinkat(&self.dir, name, AtFlags::empty()) {
            // A planted entry may be a directory. Another daemon may have deleted it already.
            Err(Errno::ISDIR) => unlinkat(&self.dir, name, AtFlags::REMOVEDIR).context("delete it"),
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(refusal) => Err(refusal).context("delete it"),
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let lease = self.lease.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        lease.into_iter().for_each(|lease| lease.end(&self.leases));
    }
}
