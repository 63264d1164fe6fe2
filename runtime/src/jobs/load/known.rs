//! The handler versions that are still in use, and the directories that their jobs may write to.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{fstat, stat};

use super::handler::Ground;
use super::heritage::{self, Left};
use super::{Loader, Uploaded, variables};
use crate::catalog::Catalog;
use crate::config::{self, HandlerConfig};
use crate::confine::{self, Granting, Untrusted, Writable};
use crate::job::{Entry, Name};
use crate::wasm::{Digest, Module, Mounted};

/// Versions, as long as a catalog or a job holds them. Keeps none of them alive.
#[derive(Default)]
pub(super) struct Known {
    in_use: Mutex<InUse>,
    /// Of the processes before this one, until they are known to have ended.
    left: Mutex<Vec<Left>>,
    /// Held while the cache is tidied.
    tidying: Mutex<()>,
}

#[derive(Default)]
struct InUse {
    /// By the address of the entry, which no other has as long as there is a `Weak` of it.
    versions: HashMap<usize, Version>,
    /// By address as well: all versions that were swapped in have the mounts of the one that was loaded.
    mounts: HashMap<usize, (Name, Weak<Mounted>)>,
}

struct Version {
    entry: Weak<Entry>,
    module: Weak<Module>,
    digest: Digest,
}

impl Known {
    pub(super) fn add(&self, entry: &Arc<Entry>, module: &Arc<Module>, digest: Digest) {
        let version = Version { entry: Arc::downgrade(entry), module: Arc::downgrade(module), digest };
        self.in_use().versions.insert(address(entry), version);
    }

    /// Adds the mounts of a handler.
    pub(super) fn add_mounts(&self, name: &Name, mounted: &Arc<Mounted>) {
        if mounted.writable().next().is_some() {
            let mounts = (name.clone(), Arc::downgrade(mounted));
            self.in_use().mounts.insert(address(mounted), mounts);
        }
    }

    /// Returns the module of a version.
    pub(super) fn module(&self, entry: &Arc<Entry>) -> Option<Uploaded> {
        let in_use = self.in_use();
        let Version { module, digest, .. } = in_use.versions.get(&address(entry))?;
        Some(Uploaded { digest: *digest, code: module.upgrade()?.code.clone() })
    }

    /// Adds what the jobs of versions may write to.
    pub(super) fn add_writable(&self, untrusted: &mut Untrusted) -> Result<()> {
        for (name, mounted) in self.held() {
            let writable = mounted.writable().map(|(mount, dir)| {
                let (handler, dir_named) = (name.to_string(), mount.host.clone());
                (Writable { handler, dir: dir_named, by: Granting::Before }, dir)
            });
            untrusted.add(writable)?;
        }
        let left = self.left();
        untrusted.add(left.iter().filter(|left| left.is_alive()).map(|left| {
            let (handler, dir) = (left.handler.clone(), left.path.clone());
            (Writable { handler, dir, by: Granting::Before }, &*left.dir)
        }))
    }

    /// Goes on from the process before this one, which has told what its handlers may write to.
    pub(super) fn after(self, list: OwnedFd) -> Result<Known> {
        Ok(Known { left: Mutex::new(heritage::read(list)?), ..self })
    }

    /// Writes down for the next process what handlers of this one may write to.
    ///
    /// # Errors
    /// The next could not find a directory: it was unmounted.
    pub(super) fn tell(&self) -> Result<OwnedFd> {
        let mut own = Vec::new();
        for (name, mounted) in self.held() {
            for (mount, dir) in mounted.writable() {
                let path = place_now(dir).with_context(|| {
                    format!(
                        "jobs of {:?} may write to {}, which was unmounted: reload and wait for them to end, or restart",
                        name.as_str(),
                        mount.host.display()
                    )
                })?;
                own.extend(path.map(|path| (name.to_string(), path)));
            }
        }
        heritage::write(own.into_iter(), self.left().iter().filter(|left| left.is_alive()))
    }

    fn held(&self) -> Vec<(Name, Arc<Mounted>)> {
        let held = |(name, mounted): &(Name, Weak<Mounted>)| Some((name.clone(), mounted.upgrade()?));
        self.in_use().mounts.values().filter_map(held).collect()
    }

    /// Forgets the versions that are no longer in use, and the processes that have ended.
    pub(super) fn prune(&self) {
        self.left().retain(Left::is_alive);
        let mut in_use = self.in_use();
        in_use.versions.retain(|_, version| version.entry.strong_count() > 0);
        in_use.mounts.retain(|_, (_, mounted)| mounted.strong_count() > 0);
    }

    fn left(&self) -> MutexGuard<'_, Vec<Left>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_use(&self) -> MutexGuard<'_, InUse> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loader {
    /// Goes on from the process before this one; `list` is what it has told by [`Loader::tell`].
    ///
    /// # Errors
    /// It is no such list, or what it names cannot be held.
    pub fn after(self, list: Option<OwnedFd>) -> Result<Loader> {
        let Some(list) = list else { return Ok(self) };
        let known =
            self.ground.known.after(list).context("what handlers of the process before may write to")?;
        Ok(Loader { ground: Ground { known, ..self.ground }, ..self })
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
    pub fn refreshed(&self, serving: &Catalog) -> Vec<(Name, Result<Arc<Entry>>)> {
        let refresh = |(name, entry): (&Name, &Arc<Entry>)| {
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
    pub fn adopt_refreshed(&self, before: &Arc<Entry>, entry: &Arc<Entry>) {
        let mut last = self.last();
        // A version that was swapped in is not the one that was loaded.
        if let Some(made) = last.made.get_mut(&entry.name).filter(|made| Arc::ptr_eq(&made.entry, before)) {
            made.entry = entry.clone();
        }
    }

    /// Returns the module of a version that this has made.
    pub fn module(&self, entry: &Arc<Entry>) -> Option<Uploaded> {
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

/// Returns the path of a directory that is held open; `None` if it was removed, and nothing can be made in it.
///
/// # Errors
/// No path leads there.
fn place_now(dir: &OwnedFd) -> Result<Option<PathBuf>> {
    let held = fstat(dir)?;
    if held.st_nlink == 0 {
        return Ok(None);
    }
    let path = confine::place_of(dir)?;
    let found = stat(&path)?;
    ensure!(
        (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino),
        "another directory is at {}",
        path.display()
    );
    Ok(Some(path))
}

fn address<T>(of: &Arc<T>) -> usize {
    Arc::as_ptr(of).addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_known_as_long_as_something_holds_them() {
        let dir = tempfile::tempdir().unwrap();
        let mount = crate::job::Mount {
            host: dir.path().to_owned(),
            guest: "/data".to_owned(),
            access: crate::job::Access::Write,
            within: None,
        };
        let mounted = Arc::new(Mounted::open(vec![mount], &Untrusted::default()).unwrap());
        let (known, name) = (Known::default(), "up".parse().unwrap());
        let writable = || {
            let mut untrusted = Untrusted::default();
            known.add_writable(&mut untrusted).unwrap();
            untrusted.find(dir.path()).unwrap().cloned()
        };

        (0..1000).for_each(|_| known.add_mounts(&name, &mounted));
        assert_eq!(known.in_use().mounts.len(), 1);
        assert!(writable().is_some_and(|writable| writable.by == Granting::Before));

        drop(mounted);
        assert!(writable().is_none());
        known.prune();
        assert_eq!(known.in_use().mounts.len(), 0);
    }

    #[test]
    fn a_directory_that_is_held_is_told_where_it_lies_or_not_at_all() {
        let place = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| place.path().join(name));
        std::fs::create_dir(&old).unwrap();
        let dir = OwnedFd::from(std::fs::File::open(&old).unwrap());
        std::fs::rename(&old, &new).unwrap();

        assert_eq!(place_now(&dir).unwrap(), Some(new.clone()));
        std::fs::remove_dir(&new).unwrap();
        assert_eq!(place_now(&dir).unwrap(), None);
    }
}
