//! The directories that handlers may write to; a name in them may lead elsewhere at any time.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, readlinkat};
use rustix::io::Errno;

use super::hard_links::{self, FileNumber};
use super::location::{Location, Mounts};

/// Directories that handlers may write to.
///
/// A handler can replace any name below such a directory by a link or another directory. The daemon therefore looks up
/// no name there, except for mounts. Mounts are opened without following links from the outermost such directory on,
/// so they reach no more than the handler may write to anyway.
///
/// Directories are compared by their place in the file system, not by path, so a bind mount does not bypass the check.
#[derive(Default)]
pub struct Untrusted {
    /// By file system, then by path within it.
    dirs: HashMap<String, HashMap<PathBuf, Writable>>,
    /// Whole file systems, by `st_dev`: those of directories that are held open in a detached mount.
    devices: HashMap<u64, Writable>,
    /// All of them, in the order in which they were found.
    granted: Vec<Writable>,
    /// `None` if there are no such directories; then nothing is compared.
    mounts: Option<Mounts>,
    /// The mounts of the process when the first directory was granted.
    pub(super) granting: OnceLock<Mounts>,
    /// Directories that are granted already, by path.
    pub(super) held: HashMap<PathBuf, HeldDir>,
}

/// A directory that a handler may write to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Writable {
    /// The handler.
    pub handler: String,
    /// The directory, as the configuration names it.
    pub dir: PathBuf,
    /// The configuration that grants it.
    pub by: Granting,
}

/// A directory that a path led to when it was granted.
pub(super) struct HeldDir {
    pub(super) dir: Arc<OwnedFd>,
    /// Whether the path has led elsewhere since.
    pub(super) is_displaced: bool,
}

/// The configuration that lets a handler write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Granting {
    /// The configuration that is checked.
    Wanted,
    /// An earlier configuration with jobs that still run.
    Before,
}

/// The result of following a path.
struct Found<'u> {
    /// An error if the path leads to nothing.
    end: rustix::io::Result<OwnedFd>,
    /// The first writable directory on the path, its end included.
    writable: Option<&'u Writable>,
}

/// The treatment of a symbolic link or `..` below a writable directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    Followed,
    Refused,
}

/// The most symbolic links in one path: the kernel's own limit, path_resolution(7).
const MOST_LINKS: usize = 40;

impl Untrusted {
    /// Finds these directories. A missing directory is skipped, and so is one behind a link that a handler may have
    /// made: it is not granted.
    ///
    /// # Errors
    /// The kernel does not report where a directory lies: there is no `/proc`.
    pub fn of(dirs: impl IntoIterator<Item = Writable>) -> Result<Untrusted> {
        let mut dirs: Vec<Writable> = dirs.into_iter().collect();
        // Outer directories first: a link in one of them counts for the inner ones.
        dirs.sort_by_key(|writable| writable.dir.components().count());
        Untrusted::collected(dirs, |untrusted, path| untrusted.open(path))
    }

    /// Finds these directories, wherever links lead. A missing directory is skipped. For directories that handlers may
    /// only read, and so have made no link in.
    ///
    /// # Errors
    /// Those of [`Untrusted::of`].
    pub fn following(dirs: impl IntoIterator<Item = Writable>) -> Result<Untrusted> {
        Untrusted::collected(dirs, |_, path| Ok(openat(CWD, path, PLACE, Mode::empty())?))
    }

    fn collected(
        dirs: impl IntoIterator<Item = Writable>,
        open: impl Fn(&Untrusted, &Path) -> Result<OwnedFd>,
    ) -> Result<Untrusted> {
        let mut untrusted = Untrusted::default();
        for writable in dirs {
            let Ok(dir) = open(&untrusted, &writable.dir) else { continue };
            if FileType::from_raw_mode(fstat(&dir)?.st_mode) != FileType::Directory {
                continue;
            }
            let (mut locations, here) = untrusted.mounts()?.around(&dir)?;
            locations.push(here);
            untrusted.insert(&writable, locations);
        }
        Ok(untrusted)
    }

    /// Adds directories that are held open, wherever they lie now. The kernel does not report where a lazily unmounted
    /// one (`umount -l`) lies, and its file system may be mounted elsewhere. Then the whole file system counts.
    ///
    /// # Errors
    /// There is no `/proc`, or the directory cannot be examined.
    pub fn add<'d>(&mut self, held: impl IntoIterator<Item = (Writable, &'d OwnedFd)>) -> Result<()> {
        for (writable, dir) in held {
            match self.mounts()?.around(dir) {
                Ok((mut locations, here)) => {
                    locations.push(here);
                    self.insert(&writable, locations);
                }
                Err(_unmounted) => drop(self.devices.entry(fstat(dir)?.st_dev).or_insert(writable)),
            }
        }
        Ok(())
    }

    fn mounts(&mut self) -> Result<&Mounts> {
        Ok(match &mut self.mounts {
            Some(mounts) => mounts,
            none => none.insert(Mounts::read()?),
        })
    }

    fn insert(&mut self, writable: &Writable, locations: Vec<Location>) {
        self.granted.push(writable.clone());
        for Location { device, path } in locations {
            self.dirs.entry(device).or_default().entry(path).or_insert_with(|| writable.clone());
        }
    }

    /// Reports whether there are no such directories.
    pub fn is_empty(&self) -> bool {
        self.dirs.is_empty() && self.devices.is_empty()
    }

    /// Opens a file or directory with `O_PATH`.
    ///
    /// # Errors
    /// It does not exist; or it lies below a directory that a handler may write to, and a symbolic link or `..`
    /// follows on the path.
    pub fn open(&self, path: &Path) -> Result<OwnedFd> {
        Ok(self.walk(path, Links::Refused)?.end?)
    }

    /// Returns the writable directory through which a handler can change what a path leads to, or its content. A file
    /// may have a second name there, a hard link.
    ///
    /// # Errors
    /// The path cannot be followed.
    pub fn find(&self, path: &Path) -> Result<Option<&Writable>> {
        if self.mounts.is_none() {
            return Ok(None);
        }
        let Found { end, writable } = self.walk(path, Links::Followed)?;
        Ok(writable.or_else(|| self.hard_linked(&end.ok()?)))
    }

    /// Finds the writable directory in which an open file has another name.
    fn hard_linked(&self, file: &OwnedFd) -> Option<&Writable> {
        let found = fstat(file).ok()?;
        if found.st_nlink < 2 || FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return None;
        }
        let file = FileNumber { device: found.st_dev, number: found.st_ino };
        self.granted.iter().find(|writable| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            openat(CWD, &writable.dir, flags, Mode::empty()).is_ok_and(|dir| hard_links::is_below(dir, file))
        })
    }

    /// Follows a path name by name, as the kernel does.
    fn walk(&self, path: &Path, links: Links) -> Result<Found<'_>> {
        let whole = std::path::absolute(path)?;
        let mut left = names(&whole);
        let mut at = root()?;
        let mut writable = self.writable(&at)?;
        let mut followed = 0;
        while let Some(name) = left.pop() {
            let outside = writable.is_none() || links == Links::Followed;
            let refused = |what: &str| {
                let within = writable.map(ToString::to_string).unwrap_or_default();
                format!(
                    "{}: {what} {name:?} within {within}: the handler could change where it leads; name the directory without links",
                    path.display()
                )
            };
            if !outside && name == ".." {
                bail!(refused("there is a"));
            }
            let next = match step(&at, &name) {
                Ok(next) => next,
                Err(why) => return Ok(Found { end: Err(why), writable }),
            };
            if FileType::from_raw_mode(fstat(&next)?.st_mode) != FileType::Symlink {
                at = next;
                writable = match writable {
                    None => self.writable(&at)?,
                    known => known,
                };
                continue;
            }
            if !outside {
                bail!(refused("there is the symbolic link"));
            }
            followed += 1;
            if followed > MOST_LINKS {
                return Ok(Found { end: Err(Errno::LOOP), writable });
            }
            let target = readlinkat(&next, "", Vec::new())?;
            let target = Path::new(OsStr::from_bytes(target.as_bytes()));
            if target.is_absolute() {
                at = root()?;
            }
            left.extend(names(target));
        }
        Ok(Found { end: Ok(at), writable })
    }

    /// Finds the writable directory that an open file or directory is or lies in.
    fn writable(&self, at: &OwnedFd) -> Result<Option<&Writable>> {
        let Some(mounts) = &self.mounts else { return Ok(None) };
        if !self.devices.is_empty()
            && let Some(writable) = self.devices.get(&fstat(at)?.st_dev)
        {
            return Ok(Some(writable));
        }
        let location = mounts.locate(at)?;
        let Some(dirs) = self.dirs.get(&location.device) else { return Ok(None) };
        Ok(location.ancestors().find_map(|above| dirs.get(above)))
    }
}

/// `/srv/data, which handler "up" may write to`.
impl fmt::Display for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, which handler {:?} may write to", self.dir.display(), self.handler)?;
        match self.by {
            Granting::Wanted => Ok(()),
            Granting::Before => f.write_str(
                " until its jobs are over, under the previous configuration (remove that mount in a reload of its own first)",
            ),
        }
    }
}

/// open(2): no access, only a reference to the place.
const PLACE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Looks up one name. Returns a link itself, not its target.
fn step(at: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = PLACE | OFlags::NOFOLLOW;
    // Tried as a directory first: the kernel triggers an automount only for `O_DIRECTORY`.
    match openat(at, name, flags | OFlags::DIRECTORY, Mode::empty()) {
        Err(Errno::NOTDIR | Errno::LOOP) => openat(at, name, flags, Mode::empty()),
        opened => opened,
    }
}

fn root() -> Result<OwnedFd> {
    openat(CWD, "/", PLACE | OFlags::DIRECTORY, Mode::empty()).context("open /")
}

/// Returns the names of a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(_) | Component::ParentDir => Some(component.as_os_str().to_owned()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

#[cfg(test)]
mod tests;
