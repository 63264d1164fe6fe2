//! Watches directories for changes of relevant files.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use notify::{ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// How long files must be unchanged before they are read: a file is often written in several steps.
const SETTLE_TIME: Duration = Duration::from_millis(100);

/// A watch over directories. Files are not watched, because an editor that saves by renaming would leave the watch on a
/// deleted file. Dropping it ends the watch.
pub(super) struct FileWatcher {
    /// Holds one message: that something changed matters, not how often.
    seen: mpsc::Receiver<()>,
    /// Whether a change was seen that no caller has been told of.
    untold: bool,
    _watcher: RecommendedWatcher,
}

impl FileWatcher {
    /// Watches for changes of paths that are `relevant`. A change from now on is not missed.
    ///
    /// # Errors
    /// A directory cannot be watched.
    pub(super) fn over(
        dirs: impl IntoIterator<Item = (PathBuf, RecursiveMode)>,
        relevant: impl Fn(&Path) -> bool + Send + 'static,
    ) -> Result<FileWatcher> {
        let (changed, seen) = mpsc::channel(1);
        let told = move |event: notify::Result<Event>| {
            let matters = match &event {
                Ok(event) if event.kind.is_access() => false,
                Ok(event) => event.paths.iter().any(|path| relevant(path)),
                // The kernel's queue overflowed: anything may have changed.
                Err(_) => true,
            };
            if matters {
                // If the channel is full, a change is known already.
                let _known = changed.try_send(());
            }
        };
        let mut watcher = notify::recommended_watcher(told)?;
        for (dir, mode) in dirs {
            match watcher.watch(&dir, mode) {
                // The directory has just disappeared, as when a link is switched to another one. The caller checks the
                // files again after this, and finds the new one.
                Err(error) if is_gone(&error) => {}
                watched => watched.with_context(|| dir.display().to_string())?,
            }
        }
        Ok(FileWatcher { seen, untold: false, _watcher: watcher })
    }

    /// Returns `true` if something changed since the last report. Never waits.
    pub(super) fn has_changed(&mut self) -> bool {
        self.untold |= self.seen.try_recv().is_ok();
        std::mem::take(&mut self.untold)
    }

    /// Waits until something has changed, and then until changes stop.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the next call reports the change.
    pub(super) async fn changed(&mut self) {
        if !self.untold {
            if self.seen.recv().await.is_none() {
                // The watcher keeps the sender alive as long as `self`.
                std::future::pending::<()>().await;
            }
            self.untold = true;
        }
        while let Ok(Some(())) = tokio::time::timeout(SETTLE_TIME, self.seen.recv()).await {}
        self.untold = false;
    }
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Returns a file, each link on the path to it, and the target of the links. Replacing any of them replaces the file;
/// Kubernetes switches a whole directory by one link.
pub(super) fn ways(file: &Path) -> Vec<PathBuf> {
    /// The maximum number of links that the kernel follows, path_resolution(7).
    const MOST_LINKS: usize = 40;
    let mut found = Vec::new();
    let Ok(mut path) = std::path::absolute(file) else { return found };
    for _ in 0..=MOST_LINKS {
        let link = path.ancestors().collect::<Vec<_>>().into_iter().rev().find_map(|part| {
            let target = part.read_link().ok()?;
            Some((part.to_owned(), target))
        });
        let Some((link, target)) = link else {
            found.push(path);
            return found;
        };
        let rest = path.strip_prefix(&link).map(Path::to_owned).unwrap_or_default();
        let beside = link.parent().unwrap_or(Path::new("/")).join(target);
        // The directory of the link contains no links itself, so `..` can be resolved lexically.
        path = plain(&if rest.as_os_str().is_empty() { beside } else { beside.join(rest) });
        found.push(link);
    }
    found
}

/// Resolves `.` and `..` in a path lexically.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_link_on_the_way_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(dir.join("v1/sub")).unwrap();
        std::fs::write(dir.join("v1/cert.pem"), "").unwrap();
        symlink("v1", dir.join("..data")).unwrap();
        symlink("..data/cert.pem", dir.join("cert.pem")).unwrap();
        symlink("../cert.pem", dir.join("v1/up.pem")).unwrap();

        let names = |file: &str| -> Vec<String> {
            let ways = ways(&dir.join(file));
            ways.iter().map(|way| way.strip_prefix(&dir).unwrap().display().to_string()).collect()
        };

        assert_eq!(names("cert.pem"), ["cert.pem", "..data", "v1/cert.pem"]);
        assert_eq!(names("v1/cert.pem"), ["v1/cert.pem"]);
        assert_eq!(names("..data/up.pem"), ["..data", "v1/up.pem", "cert.pem", "..data", "v1/cert.pem"]);
        assert_eq!(names("nowhere/f"), ["nowhere/f"]);
        symlink("loop", dir.join("loop")).unwrap();
        assert!(names("loop").len() > 40);
    }
}
