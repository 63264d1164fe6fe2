//! Measures and removes directory trees made by guests.
//!
//! Neither holds more than three descriptors or follows a link, however deep the tree is.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::amount::Amount;

/// The most entries to handle between two reads of a directory: 256 KiB of names.
const AT_ONCE: usize = 1024;

/// A directory on the current path through a tree.
#[derive(Default)]
struct TreeLevel {
    /// Its subdirectories that are still to be visited.
    below: Vec<CString>,
    /// The position of its first unread entry. `None` if all were read.
    rest: Option<i64>,
}

/// Counts the entries of a tree and the apparent size of its files. Holes count, because they may be filled later.
/// However wide the tree is, it keeps at most [`AT_ONCE`] names, and one for each level.
pub(super) fn measure(root: impl AsFd) -> io::Result<Amount> {
    let mut found = Amount::default();
    // Files with several names, by inode.
    let mut linked = HashSet::new();
    let mut here = open(root, c".")?;
    let mut levels = vec![TreeLevel { rest: Some(0), ..TreeLevel::default() }];
    let mut kept = 0;
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.below.pop() {
            kept -= 1;
            here = open(&here, &name)?;
            levels.push(TreeLevel { rest: Some(0), ..TreeLevel::default() });
        } else if let Some(from) = level.rest {
            *level = look(&here, from, AT_ONCE.saturating_sub(kept).max(1), &mut linked, &mut found)?;
            kept += level.below.len();
        } else {
            levels.pop();
            if !levels.is_empty() {
                here = open(&here, c"..")?;
            }
        }
    }
    Ok(found)
}

/// Counts the entries of a directory from a position on, until `max` subdirectories are found.
fn look(
    dir: &OwnedFd,
    from: i64,
    max: usize,
    linked: &mut HashSet<u64>,
    found: &mut Amount,
) -> io::Result<TreeLevel> {
    let mut entries = Dir::read_from(dir)?;
    if from != 0 {
        entries.seek(from)?;
    }
    let mut below = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if is_own(name) {
            continue;
        }
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        found.files += 1;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => below.push(name.to_owned()),
            FileType::RegularFile if stat.st_nlink == 1 || linked.insert(stat.st_ino) => {
                found.bytes += stat.st_size.cast_unsigned();
            }
            _ => {}
        }
        if below.len() == max {
            return Ok(TreeLevel { below, rest: Some(entry.offset()) });
        }
    }
    Ok(TreeLevel { below, rest: None })
}

/// Removes the content of a directory. Nested directories are moved up, so paths stay short.
pub(super) fn empty(root: impl AsFd) -> io::Result<()> {
    let mut moved = 0_u64;
    loop {
        let mut names = Vec::new();
        each(&root, AT_ONCE, |name| {
            names.push(name.to_owned());
            Ok(())
        })?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if remove(&root, &name)? {
                continue;
            }
            let dir = open(&root, &name)?;
            each(&dir, usize::MAX, |inner| {
                if !remove(&dir, inner)? {
                    move_up(&dir, inner, &root, &mut moved)?;
                }
                Ok(())
            })?;
            match unlinkat(&root, &name, AtFlags::REMOVEDIR) {
                // Reading a directory may skip entries while others are removed; the next round finds them.
                Ok(()) | Err(Errno::NOTEMPTY | Errno::NOENT) => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
    }
}

/// Moves a directory into `root`, under an unused name. An interrupted removal may have left such names.
fn move_up(dir: &OwnedFd, name: &CStr, root: impl AsFd, moved: &mut u64) -> io::Result<()> {
    loop {
        // No guest can name this: WASI's names are UTF-8.
        let unique = CString::new([b"\xff", moved.to_string().as_bytes()].concat())?;
        *moved += 1;
        match renameat(dir, name, &root, unique.as_c_str()) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            outcome => return Ok(outcome?),
        }
    }
}

/// Removes a file, a link or an empty directory. Returns whether it is gone.
fn remove(dir: impl AsFd, name: &CStr) -> io::Result<bool> {
    for flags in [AtFlags::empty(), AtFlags::REMOVEDIR] {
        match unlinkat(&dir, name, flags) {
            Ok(()) | Err(Errno::NOENT) => return Ok(true),
            // unlink(2) of a directory: EISDIR on Linux, EPERM in POSIX.
            Err(Errno::ISDIR | Errno::PERM) if flags.is_empty() => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(false),
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Ok(false)
}

/// Calls `work` for each entry of a directory, up to `max`.
fn each(dir: impl AsFd, max: usize, mut work: impl FnMut(&CStr) -> io::Result<()>) -> io::Result<()> {
    let entries = Dir::read_from(dir)?;
    let others = entries.filter(|entry| !entry.as_ref().is_ok_and(|entry| is_own(entry.file_name())));
    for entry in others.take(max) {
        work(entry?.file_name())?;
    }
    Ok(())
}

/// Reports whether an entry is `.` or `..`.
fn is_own(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// Opens a directory for reading.
pub(super) fn open(dir: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(dir, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Nests directories, `deep` levels deep.
    fn nest(root: &OwnedFd, deep: usize) -> OwnedFd {
        let mut here = open(root, c".").unwrap();
        for _ in 0..deep {
            let name = CString::new("n".repeat(255)).unwrap();
            rustix::fs::mkdirat(&here, name.as_c_str(), Mode::RWXU).unwrap();
            here = open(&here, &name).unwrap();
        }
        here
    }

    #[test]
    fn a_tree_wider_than_the_names_that_are_kept_is_counted_once() {
        let place = tempfile::tempdir().unwrap();
        let wide = |dir: &std::path::Path, many: usize| {
            (0..many).for_each(|number| {
                fs::create_dir_all(dir.join(number.to_string()).join("in")).unwrap();
                fs::write(dir.join(number.to_string()).join("in/file"), "four").unwrap();
            });
        };
        wide(place.path(), AT_ONCE + 500);
        wide(&place.path().join("3/in"), AT_ONCE * 2);
        let root: OwnedFd = fs::File::open(place.path()).unwrap().into();

        let found = measure(&root).unwrap();

        let many = 3 * AT_ONCE as u64 + 500;
        assert_eq!((found.files, found.bytes), (3 * many, 4 * many));
        let some = look(&root, 0, 7, &mut HashSet::new(), &mut Amount::default()).unwrap();
        assert!(some.below.len() == 7 && some.rest.is_some());
        empty(&root).unwrap();
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_measured_and_removed_and_links_are_not_followed() {
        let (place, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("kept"), "yours").unwrap();
        let at = |name: &str| place.path().join(name);
        fs::write(at("file"), [0; 100]).unwrap();
        fs::hard_link(at("file"), at("same")).unwrap();
        fs::File::create(at("sparse")).unwrap().set_len(1 << 40).unwrap();
        symlink(outside.path(), at("link")).unwrap();
        (0..3000).for_each(|number| fs::write(at(&number.to_string()), "x").unwrap());
        let root: OwnedFd = fs::File::open(place.path()).unwrap().into();
        // A path of 77 KiB.
        let deepest = nest(&root, 300);
        rustix::fs::mkdirat(&deepest, c"empty", Mode::RWXU).unwrap();

        let found = measure(&root).unwrap();

        assert_eq!((found.files, found.bytes), (4 + 3000 + 301, 100 + (1 << 40) + 3000));
        empty(&root).unwrap();
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
        assert_eq!(fs::read(outside.path().join("kept")).unwrap(), b"yours");
    }
}
