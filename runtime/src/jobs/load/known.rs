//! The versions that were made and are not gone, with what their jobs may write to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use anyhow::Result;

use super::Uploaded;
use crate::confine::{Granting, Untrusted, Writable};
use crate::job::Entry;
use crate::wasm::Mounted;

/// Versions, as long as a catalog or a job holds them.
#[derive(Default)]
pub(super) struct Known(Mutex<Vec<Version>>);

struct Version {
    handler: String,
    entry: Weak<Entry>,
    /// Lasts as long as the last job that has them.
    mounted: Weak<Mounted>,
    module: Uploaded,
}

impl Known {
    pub(super) fn add(&self, entry: &Arc<Entry>, mounted: &Arc<Mounted>, module: Uploaded) {
        let (handler, entry) = (entry.name.to_string(), Arc::downgrade(entry));
        self.versions().push(Version { handler, entry, mounted: Arc::downgrade(mounted), module });
    }

    /// Returns the module of a version.
    pub(super) fn module(&self, entry: &Arc<Entry>) -> Option<Uploaded> {
        let known = |version: &&Version| std::ptr::eq(version.entry.as_ptr(), Arc::as_ptr(entry));
        self.versions().iter().find(known).map(|version| version.module.clone())
    }

    /// Adds what versions may write to.
    pub(super) fn add_writable(&self, untrusted: &mut Untrusted) -> Result<()> {
        let mounted = |version: &Version| Some((version.handler.clone(), version.mounted.upgrade()?));
        let held: Vec<_> = self.versions().iter().filter_map(mounted).collect();
        for (handler, mounted) in held {
            let writable = mounted.writable().map(|(mount, dir)| {
                let (handler, host) = (handler.clone(), mount.host.clone());
                (Writable { handler, dir: host, by: Granting::Before }, dir)
            });
            untrusted.add(writable)?;
        }
        Ok(())
    }

    /// Returns them without those that are gone.
    fn versions(&self) -> MutexGuard<'_, Vec<Version>> {
        let mut versions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        versions.retain(|version| version.entry.strong_count() > 0 || version.mounted.strong_count() > 0);
        versions
    }
}
