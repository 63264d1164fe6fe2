//! Where a directory lies in its file system, independent of mounts (`/proc/self/mountinfo`).

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, PROC_SUPER_MAGIC, StatxFlags, fstatfs, openat, readlinkat, statx,
};

/// A place in a file system. A bind mount gives a directory a second path; both have the same location.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Location {
    /// The file system, as `MAJOR:MINOR`.
    pub(super) device: String,
    /// The path from the root of the file system.
    pub(super) path: PathBuf,
}

/// The mounts of this process.
pub(super) struct Mounts(Mutex<Arc<[MountPoint]>>);

/// A line of `mountinfo`.
#[derive(PartialEq, Eq, Debug)]
struct MountPoint {
    id: u64,
    /// The directory that is mounted.
    root: Location,
    /// The path at which it is mounted.
    point: PathBuf,
    /// Whether it is a procfs.
    shows_processes: bool,
}

impl Mounts {
    /// Reads the mounts of this process.
    ///
    /// # Errors
    /// There is no `/proc`, or it cannot be read.
    pub(super) fn read() -> Result<Mounts> {
        Ok(Mounts(Mutex::new(read()?)))
    }

    /// Determines where an open file or directory lies.
    ///
    /// # Errors
    /// The kernel does not report the mount: it is older than Linux 5.8, or there is no `/proc`.
    pub(super) fn locate(&self, fd: impl AsFd) -> Result<Location> {
        let found = statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
        let shown = shown(&fd)?;
        let at = |mounts: &[MountPoint]| {
            let mount = mounts.iter().find(|mount| mount.id == found.stx_mnt_id)?;
            let below = shown.strip_prefix(&mount.point).ok()?;
            Some(Location { device: mount.root.device.clone(), path: mount.root.path.join(below) })
        };
        if let Some(location) = at(&self.now()) {
            return Ok(location);
        }
        // The mount may be newer than the list: an automount is mounted on first use.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = read()?;
        let why = || format!("{}: the kernel does not report which mount it is on", shown.display());
        at(&self.now()).with_context(why)
    }

    /// Lists what is mounted below an open directory, and determines where the directory itself lies.
    ///
    /// # Errors
    /// Those of [`Mounts::locate`].
    pub(super) fn around(&self, dir: &impl AsFd) -> Result<(Vec<Location>, Location)> {
        Ok((self.below(dir)?, self.locate(dir)?))
    }

    /// Finds a procfs mounted below an open directory. If the directory itself lies in a procfs, returns the
    /// directory.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub(super) fn processes_in(&self, dir: &impl AsFd) -> Result<Option<PathBuf>> {
        let (shown, found) = (shown(dir)?, fstatfs(dir)?);
        if found.f_type == PROC_SUPER_MAGIC {
            return Ok(Some(shown));
        }
        let mounts = self.now();
        let mut below =
            mounts.iter().filter(|mount| mount.shows_processes && mount.point.starts_with(&shown));
        Ok(below.next().map(|mount| mount.point.clone()))
    }

    /// Lists what is mounted below a directory.
    fn below(&self, dir: impl AsFd) -> Result<Vec<Location>> {
        let dir = shown(dir)?;
        let mounts = self.now();
        let below = mounts.iter().filter(|mount| mount.point.starts_with(&dir) && mount.point != dir);
        Ok(below.map(|mount| mount.root.clone()).collect())
    }

    fn now(&self) -> Arc<[MountPoint]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Returns the current path of an open file or directory.
///
/// # Errors
/// There is no `/proc`.
pub fn place_of(fd: impl AsFd) -> Result<PathBuf> {
    shown(fd)
}

fn shown(fd: impl AsFd) -> Result<PathBuf> {
    let link = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let path = readlinkat(CWD, &link, Vec::new()).with_context(|| format!("read {link}"))?;
    Ok(PathBuf::from(OsString::from_vec(path.into_bytes())))
}

fn read() -> Result<Arc<[MountPoint]>> {
    const PATH: &str = "/proc/self/mountinfo";
    let file = openat(CWD, PATH, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("open {PATH} (is /proc mounted?)"))?;
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(file), &mut text)
        .with_context(|| format!("read {PATH}"))?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(line).collect())
}

/// Parses a line: `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`. Source: proc_pid_mountinfo(5).
fn line(text: &[u8]) -> Option<MountPoint> {
    let mut fields = text.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let device = std::str::from_utf8(fields.nth(1)?).ok()?.to_owned();
    let root = Location { device, path: unescaped(fields.next()?) };
    let point = unescaped(fields.next()?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(MountPoint { id, root, point, shows_processes: kind == b"proc" })
}

/// Decodes the kernel's octal escapes of spaces, tabs, line breaks and backslashes: `\040`.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match (first, behind.get(..3).and_then(octal)) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

impl Location {
    /// Lists the directory itself and every directory above it.
    pub(super) fn ancestors(&self) -> impl Iterator<Item = &Path> {
        self.path.ancestors()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_what_is_escaped_in_it() {
        let mount = line(br"36 35 98:0 /mnt\0401 /a\134b rw,noatime master:1 - ext3 /dev/root rw").unwrap();

        let root = Location { device: "98:0".to_owned(), path: "/mnt 1".into() };
        assert_eq!(mount, MountPoint { id: 36, root, point: r"/a\b".into(), shows_processes: false });
        let processes = line(b"21 1 0:19 / /proc rw,nosuid - proc proc rw").unwrap();
        assert!(processes.shows_processes);
        assert_eq!(line(b""), None);
    }

    #[test]
    fn a_procfs_is_found_in_and_below_a_directory() {
        let open = |path: &str| openat(CWD, path, OFlags::PATH, Mode::empty()).unwrap();
        let mounts = Mounts::read().unwrap();
        let found = |path: &str| mounts.processes_in(&open(path)).unwrap();

        for path in ["/", "/proc", "/proc/self", "/proc/sys/kernel"] {
            assert!(found(path).is_some_and(|point| point.starts_with("/proc")), "{path}");
        }
        assert_eq!((found("/etc"), found("/tmp")), (None, None));
    }

    #[test]
    fn what_lies_below_a_directory_has_a_location_below_its() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("in")).unwrap();
        let open = |path: &Path| openat(CWD, path, OFlags::PATH, Mode::empty()).unwrap();
        let mounts = Mounts::read().unwrap();

        let [outer, inner] =
            [place.path(), &place.path().join("in")].map(|path| mounts.locate(open(path)).unwrap());

        assert_eq!(outer.device, inner.device);
        assert!(inner.ancestors().any(|above| above == outer.path), "{outer:?} {inner:?}");
    }
}
