//! Waits for files to change.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use notify::{ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// How long files must be quiet before they are read: whoever writes one does so in several steps.
const QUIET: Duration = Duration::from_millis(100);

/// A watch over directories. Directories and not files: who saves by renaming leaves a watch on a
/// file that is no more. Dropping it ends the watch.
pub(super) struct Watching {
    /// One is enough: what matters is that something changed, not how often.
    seen: mpsc::Receiver<()>,
    /// Whether something was seen of which nobody has been told.
    untold: bool,
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
            match watcher.watch(&dir, mode) {
                // It was there a moment ago, as the directory behind a link is until the link is switched. Who watches looks at
                // what there is once more, and finds another.
                Err(error) if is_gone(&error) => {}
                watched => watched.with_context(|| dir.display().to_string())?,
            }
        }
        Ok(Watching { seen, untold: false, _watcher: watcher })
    }

    /// Reports whether something has changed that nobody waited for. Never waits.
    pub(super) fn has_changed(&mut self) -> bool {
        self.untold |= self.seen.try_recv().is_ok();
        std::mem::take(&mut self.untold)
    }

    /// Waits until something has changed and nothing changes any more.
    ///
    /// # Cancel safety
    /// A dropped wait loses nothing: the next one tells of what this one saw.
    pub(super) async fn changed(&mut self) {
        if !self.untold {
            if self.seen.recv().await.is_none() {
                // The watcher holds the sender for as long as `self` lives.
                std::future::pending::<()>().await;
            }
            self.untold = true;
        }
        while let Ok(Some(())) = tokio::time::timeout(QUIET, self.seen.recv()).await {}
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

/// Returns a file, each link on the way to it, and where that leads: whatever is put into the place of
/// one of them is another file. So a whole directory is exchanged by one link, as Kubernetes does it.
pub(super) fn ways(file: &Path) -> Vec<PathBuf> {
    /// path_resolution(7): what the kernel follows.
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
        // Of the directory that it is in there is no link left, so that `..` is what it seems.
        path = plain(&if rest.as_os_str().is_empty() { beside } else { beside.join(rest) });
        found.push(link);
    }
    found
}

/// Takes `.` and `..` out of a path.
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
