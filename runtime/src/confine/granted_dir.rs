//! Directories that are granted to handlers: looked up by path, or held open since they were granted.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use super::location::Mounts;
use super::untrusted::{HeldDir, Untrusted};

/// A directory to grant to a handler.
pub struct GrantedDir {
    /// The directory, opened with `O_PATH`.
    pub dir: Arc<OwnedFd>,
    /// Why its path does not lead to it any more; `None` if it does.
    pub displaced: Option<String>,
}

impl GrantedDir {
    /// Reports whether both are the same directory, by device and inode.
    pub fn is_same(&self, other: &GrantedDir) -> bool {
        is_same(&self.dir, &other.dir)
    }
}

impl Untrusted {
    /// Adds a directory that handlers have been granted under this path. [`grant`](Untrusted::grant) returns it if a
    /// handler has changed what the path leads to. `is_displaced` says whether it did so before.
    pub fn hold(&mut self, path: &Path, dir: Arc<OwnedFd>, is_displaced: bool) {
        if let Ok(path) = std::path::absolute(path) {
            self.held.entry(path).or_insert(HeldDir { dir, is_displaced });
        }
    }

    /// Opens a directory to grant it to a handler. If a handler has moved or replaced it, returns the directory that
    /// was granted under this path before: no handler can take a mount from another one, or keep operators from a
    /// reload.
    ///
    /// # Errors
    /// Those of [`open`](Untrusted::open), or it is not a directory, unless it is held. Also if the directory shows the
    /// processes of this host, and so the memory, descriptors and environment of the daemon.
    pub fn grant(&self, path: &Path) -> Result<GrantedDir> {
        let found = self.open_dir(path);
        let held = std::path::absolute(path).ok().and_then(|path| self.held.get(&path));
        let Some(HeldDir { dir, is_displaced }) = held else {
            return found.map(|dir| GrantedDir { dir: Arc::new(dir), displaced: None });
        };
        let displaced = match found {
            Ok(found) if !*is_displaced || is_same(&found, dir) || self.is_safe(path) => {
                return Ok(GrantedDir { dir: Arc::new(found), displaced: None });
            }
            Ok(_) => "another directory is there, by a link that a handler may have made".to_owned(),
            // The operators' own doing is an error.
            Err(refusal) if !*is_displaced && !matches!(self.find(path), Ok(Some(_))) => return Err(refusal),
            Err(refusal) => format!("{refusal:#}"),
        };
        Ok(GrantedDir { dir: dir.clone(), displaced: Some(displaced) })
    }

    /// Reports whether a directory is granted at a path that leads elsewhere.
    pub fn is_displaced(&self, path: &Path) -> bool {
        std::path::absolute(path).is_ok_and(|path| self.held.contains_key(&path))
            && self.grant(path).is_ok_and(|granted| granted.displaced.is_some())
    }

    fn open_dir(&self, path: &Path) -> Result<OwnedFd> {
        let opened = self.open(path);
        let dir = opened.map_err(|refusal| match refusal.is::<Errno>() {
            true => refusal.context(format!("there is no directory at {}", path.display())),
            false => refusal,
        })?;
        let is_dir = FileType::from_raw_mode(fstat(&dir)?.st_mode) == FileType::Directory;
        ensure!(is_dir, "{}: it is not a directory", path.display());
        let mounts = match self.granting.get() {
            Some(mounts) => mounts,
            None => {
                let read = Mounts::read()?;
                self.granting.get_or_init(|| read)
            }
        };
        if let Some(processes) = mounts.processes_in(&dir)? {
            bail!(
                "{} shows the processes of this host ({}), and with them the memory and the environment of the daemon: mount \
                 the directories that the handler needs, one by one",
                path.display(),
                processes.display()
            );
        }
        Ok(dir)
    }

    /// Reports whether a path that a handler once changed can be followed again. A handler that may write there no
    /// longer may have left a link on it.
    fn is_safe(&self, path: &Path) -> bool {
        let has_no_link = |path: &PathBuf| path.canonicalize().is_ok_and(|whole| whole == *path);
        matches!(self.find(path), Ok(Some(_)))
            || std::path::absolute(path).is_ok_and(|path| has_no_link(&path))
    }
}

/// Reports whether both are the same directory.
fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    let node = |dir: &OwnedFd| fstat(dir).map(|found| (found.st_dev, found.st_ino)).ok();
    node(one).is_some_and(|found| Some(found) == node(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    use crate::confine::{Granting, Writable};

    /// Handlers may write to `data`, and hold `data/mid/public`.
    fn place() -> (tempfile::TempDir, Arc<OwnedFd>) {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("data/mid/public")).unwrap();
        fs::create_dir_all(place.path().join("outside/public")).unwrap();
        let held = Untrusted::default().grant(&place.path().join("data/mid/public")).unwrap();
        assert_eq!(held.displaced, None);
        (place, held.dir)
    }

    fn untrusted(place: &Path, held: &Arc<OwnedFd>, is_displaced: bool, is_written: bool) -> Untrusted {
        let writable = Writable { handler: "up".to_owned(), dir: place.join("data"), by: Granting::Wanted };
        let mut untrusted = Untrusted::of(is_written.then_some(writable)).unwrap();
        untrusted.hold(&place.join("data/mid/public"), held.clone(), is_displaced);
        untrusted
    }

    /// Whether the grant is the held directory, and whether it is reported as displaced; `None` if it is refused.
    fn granted(untrusted: &Untrusted, place: &Path, held: &OwnedFd) -> Option<(bool, bool)> {
        let granted = untrusted.grant(&place.join("data/mid/public")).ok()?;
        Some((is_same(&granted.dir, held), granted.displaced.is_some()))
    }

    #[test]
    fn what_a_handler_has_put_in_the_place_of_a_mount_takes_nothing_from_it() {
        let (dir, held) = place();
        let place = dir.path();
        let at = |name: &str| place.join(name);
        let outcome = || granted(&untrusted(place, &held, false, true), place, &held);
        assert_eq!(outcome(), Some((true, false)));

        fs::rename(at("data/mid/public"), at("data/gone")).unwrap();
        assert_eq!(outcome(), Some((true, true)), "nothing is there");
        fs::write(at("data/mid/public"), "").unwrap();
        assert_eq!(outcome(), Some((true, true)), "a file is there");
        fs::remove_file(at("data/mid/public")).unwrap();
        symlink("../../outside/public", at("data/mid/public")).unwrap();
        assert_eq!(outcome(), Some((true, true)), "a link is there");
        fs::remove_file(at("data/mid/public")).unwrap();
        fs::create_dir(at("data/mid/public")).unwrap();
        assert_eq!(outcome(), Some((false, false)), "a directory is as good as its content");
        fs::remove_dir_all(at("data/mid")).unwrap();
        assert_eq!(outcome(), Some((true, true)), "the one above is gone");
    }

    #[test]
    fn what_an_operator_moves_is_refused_and_so_is_a_path_that_was_never_granted() {
        let (dir, held) = place();
        let place = dir.path();
        fs::rename(place.join("data"), place.join("moved")).unwrap();

        assert_eq!(granted(&untrusted(place, &held, false, false), place, &held), None);
        fs::create_dir(place.join("data")).unwrap();
        let untrusted = untrusted(place, &held, false, true);
        assert!(untrusted.grant(&place.join("data/other")).is_err());
    }

    #[test]
    fn a_link_that_was_planted_is_not_followed_once_nobody_may_write_there() {
        let (dir, held) = place();
        let place = dir.path();
        let at = |name: &str| place.join(name);
        fs::rename(at("data/mid/public"), at("data/gone")).unwrap();
        symlink("../../outside/public", at("data/mid/public")).unwrap();
        let outcome = || granted(&untrusted(place, &held, true, false), place, &held);

        assert_eq!(outcome(), Some((true, true)));
        fs::remove_file(at("data/mid/public")).unwrap();
        assert_eq!(outcome(), Some((true, true)), "it stays until the path leads somewhere");
        fs::create_dir(at("data/mid/public")).unwrap();
        assert_eq!(outcome(), Some((false, false)), "no link is on the path");
        fs::remove_dir(at("data/mid/public")).unwrap();
        fs::rename(at("data/gone"), at("data/mid/public")).unwrap();
        assert_eq!(outcome(), Some((true, false)), "it is back");
    }
}
