//! Waits for files to change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// How long files must be quiet before they are read: whoever writes one does so in several steps.
const QUIET: Duration = Duration::from_millis(100);

/// A watch over directories. Directories and not files: who saves by renaming leaves a watch on a
/// file that is no more. Dropping it ends the watch.
pub(super) struct Watching {
    /// One is enough: what matters is that something changed, not how often.
    seen: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl Watching {
    /// Watches for changes of the paths that are `relevant`. What changes from now on is not missed.
    ///
    /// # Errors
    /// A directory cannot be watched.
    pub(super) fn over(
        dirs: impl IntoIterator<Item = (PathBuf, RecursiveMode)>,
        relevant: impl Fn(&Path) -> bool + Send + 'static,
    ) -> Result<Watching> {
        let (changed, seen) = mpsc::channel(1);
        let told = move |event: notify::Result<Event>| {
            let matters = match &event {
                Ok(event) if event.kind.is_access() => false,
                Ok(event) => event.paths.iter().any(|path| relevant(path)),
                // The kernel's queue overflowed: anything may have changed.
                Err(_) => true,
            };
            if matters {
                // Full: it is known already.
                let _known = changed.try_send(());
            }
        };
        let mut watcher = notify::recommended_watcher(told)?;
        for (dir, mode) in dirs {
            watcher.watch(&dir, mode).with_context(|| dir.display().to_string())?;
        }
        Ok(Watching { seen, _watcher: watcher })
    }

    /// Reports whether something has changed that nobody waited for. Never waits.
    pub(super) fn has_changed(&mut self) -> bool {
        self.seen.try_recv().is_ok()
    }

    /// Waits until something has changed and nothing changes any more.
    ///
    /// # Cancel safety
    /// A change that was seen before the future is dropped may be missed.
    pub(super) async fn changed(&mut self) {
        if self.seen.recv().await.is_none() {
            // The watcher holds the sender for as long as `self` lives.
            std::future::pending::<()>().await;
        }
        while let Ok(Some(())) = tokio::time::timeout(QUIET, self.seen.recv()).await {}
    }
}
