//! The handler versions that are still in use, and the directories that their jobs may write to.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{fstat, stat};

use super::draft::Uploaded;
use super::left_directories::{self, LeftDirectory};
use crate::config::{self, HandlerConfig};
use crate::confine::{self, Granting, Untrusted, Writable};
use crate::job::{HandlerVersion, Name};
use crate::wasm::{Digest, Module, Mounted};

/// The versions that a catalog or a job holds. Does not keep them alive.
#[derive(Default)]
pub(super) struct VersionsInUse {
    in_use: Mutex<InUse>,
    /// The directories of earlier processes, until those processes have ended.
    left: Mutex<Vec<LeftDirectory>>,
    /// Locked while the cache is tidied.
    pub(super) tidying: Mutex<()>,
}

#[derive(Default)]
pub(super) struct InUse {
    /// By the address of the version. While a `Weak` of it exists, no other version has the same address.
    pub(super) versions: HashMap<usize, KnownVersion>,
    /// By address as well. A version that is swapped in shares the mounts of the loaded one.
    mounts: HashMap<usize, (Name, Weak<Mounted>)>,
}

pub(super) struct KnownVersion {
    entry: Weak<HandlerVersion>,
    module: Weak<Module>,
    pub(super) digest: Digest,
}

impl VersionsInUse {
    pub(super) fn add(&self, entry: &Arc<HandlerVersion>, module: &Arc<Module>, digest: Digest) {
        let version = KnownVersion { entry: Arc::downgrade(entry), module: Arc::downgrade(module), digest };
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
    pub(super) fn module(&self, entry: &Arc<HandlerVersion>) -> Option<Uploaded> {
        let in_use = self.in_use();
        let KnownVersion { module, digest, .. } = in_use.versions.get(&address(entry))?;
        Some(Uploaded { digest: *digest, code: module.upgrade()?.code.clone() })
    }

    /// Lists the directories that handlers may write to: these handlers, and versions whose jobs still run.
    ///
    /// # Errors
    /// As [`Untrusted::of`].
    pub(super) fn untrusted(&self, handlers: &[HandlerConfig]) -> Result<Untrusted> {
        let mut untrusted = config::untrusted(handlers)?;
        self.add_writable(&mut untrusted)?;
        Ok(untrusted)
    }

    /// Adds the directories that jobs of these versions may write to.
    fn add_writable(&self, untrusted: &mut Untrusted) -> Result<()> {
        for (name, mounted) in self.held() {
            let writable = mounted.writable().map(|(mount, dir)| {
                let (handler, dir_named) = (name.to_string(), mount.host.clone());
                (Writable { handler, dir: dir_named, by: Granting::Before }, &**dir)
            });
            untrusted.add(writable)?;
        }
        let left = self.left();
        untrusted.add(left.iter().filter(|left| left.is_alive()).map(|left| {
            let (handler, dir) = (left.handler.clone(), left.path.clone());
            (Writable { handler, dir, by: Granting::Before }, &*left.dir)
        }))
    }

    /// Takes over the list of the process before this one.
    pub(super) fn after(self, list: OwnedFd) -> Result<VersionsInUse> {
        Ok(VersionsInUse { left: Mutex::new(left_directories::read(list)?), ..self })
    }

    /// Writes the list of directories that handlers of this process may write to, for the next process.
    ///
    /// # Errors
    /// The next process could not find a directory, because it was unmounted.
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
        left_directories::write(own.into_iter(), self.left().iter().filter(|left| left.is_alive()))
    }

    fn held(&self) -> Vec<(Name, Arc<Mounted>)> {
        let held = |(name, mounted): &(Name, Weak<Mounted>)| Some((name.clone(), mounted.upgrade()?));
        self.in_use().mounts.values().filter_map(held).collect()
    }

    /// Forgets the versions that are no longer in use, and the processes that have ended.
    pub(super) fn prune(&self) {
        self.left().retain(LeftDirectory::is_alive);
        let mut in_use = self.in_use();
        in_use.versions.retain(|_, version| version.entry.strong_count() > 0);
        in_use.mounts.retain(|_, (_, mounted)| mounted.strong_count() > 0);
    }

    fn left(&self) -> MutexGuard<'_, Vec<LeftDirectory>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn in_use(&self) -> MutexGuard<'_, InUse> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the current path of an open directory. `None` if it was removed: no file can be made in it then.
///
/// # Errors
/// No path leads to it.
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
        let (known, name) = (VersionsInUse::default(), "up".parse().unwrap());
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
