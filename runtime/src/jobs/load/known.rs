//! The handler versions that are still in use, and the directories that their jobs may write to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use anyhow::Result;

use super::Uploaded;
use crate::confine::{Granting, Untrusted, Writable};
use crate::job::{Entry, Name};
use crate::wasm::{Digest, Module, Mounted};

/// Versions, as long as a catalog or a job holds them. Keeps none of them alive.
#[derive(Default)]
pub(super) struct Known(Mutex<InUse>);

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
        let held: Vec<_> = {
            let in_use = self.in_use();
            let held = |(name, mounted): &(Name, Weak<Mounted>)| Some((name.clone(), mounted.upgrade()?));
            in_use.mounts.values().filter_map(held).collect()
        };
        for (name, mounted) in held {
            let writable = mounted.writable().map(|(mount, dir)| {
                let (handler, dir_named) = (name.to_string(), mount.host.clone());
                (Writable { handler, dir: dir_named, by: Granting::Before }, dir)
            });
            untrusted.add(writable)?;
        }
        Ok(())
    }

    /// Forgets the versions that are no longer in use.
    pub(super) fn prune(&self) {
        let mut in_use = self.in_use();
        in_use.versions.retain(|_, version| version.entry.strong_count() > 0);
        in_use.mounts.retain(|_, (_, mounted)| mounted.strong_count() > 0);
    }

    fn in_use(&self) -> MutexGuard<'_, InUse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
}
