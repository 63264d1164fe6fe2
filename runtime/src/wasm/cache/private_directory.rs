//! Opens directories that only this user may use.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, fstat, lstat, openat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// Opens a directory, and makes it with its parents if it does not exist, with mode 0700. A symbolic link
/// to it is followed once, here: systemd makes such a link for a dynamic user, systemd.exec(5).
///
/// # Errors
/// It cannot be made, or it is not a directory.
pub(super) fn make(path: &Path) -> Result<OwnedFd> {
    use std::os::unix::fs::DirBuilderExt as _;
    match open(path) {
        Err(Errno::NOENT) => {}
        opened => return opened.map_err(|refusal| refused(path, refusal)),
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    // If it could not be made, that is the reason.
    let why = made.err().and_then(|error| Errno::from_io_error(&error));
    open(path).map_err(|refusal| refused(path, why.unwrap_or(refusal)))
}

/// Opens a directory as [`make`] does, and requires that no other user may use it.
///
/// # Errors
/// Those of [`make`]. It has another owner, or other users may use it.
pub fn make_private(path: &Path) -> Result<OwnedFd> {
    let dir = make(path)?;
    private(&dir, path)?;
    Ok(dir)
}

/// Checks that [`make_private`] would give a writable directory. Makes nothing.
///
/// # Errors
/// Those of [`make_private`]. It is not writable.
pub fn examine_private(path: &Path) -> Result<()> {
    examine(path)?.map_or(Ok(()), |dir| private(&dir, path))
}

/// Opens a writable directory, or checks that it could be made. Returns `None` if it does not exist yet.
///
/// # Errors
/// Those of [`make`]. It is not writable.
pub(super) fn examine(path: &Path) -> Result<Option<OwnedFd>> {
    let writable = |dir: &OwnedFd| {
        accessat(dir, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
            .map_err(|refusal| refused(path, refusal))
    };
    match open(path) {
        Ok(dir) => writable(&dir).map(|()| Some(dir)),
        // A dangling link: making directories does not create its target.
        Err(Errno::NOENT) if lstat(path).is_ok() => Err(refused(path, Errno::NOENT)),
        Err(Errno::NOENT) => {
            let above = path.ancestors().skip(1).map(|above| match above.as_os_str() {
                nothing if nothing.is_empty() => Path::new("."),
                _ => above,
            });
            let mut above = above.skip_while(|above| matches!(lstat(*above), Err(Errno::NOENT)));
            let above = above.next().unwrap_or(Path::new("/"));
            // Links in the ancestors are followed, as they are when the missing directories are made.
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = openat(CWD, above, flags, Mode::empty()).map_err(|refusal| refused(path, refusal))?;
            writable(&dir).map(|()| None)
        }
        Err(refusal) => Err(refused(path, refusal)),
    }
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty())
}

/// Requires that this user owns a directory and that no other user may use it. The check uses the open
/// descriptor. A planted link can thus only lead to a directory of our own, and later changes at the path
/// have no effect.
fn private(dir: &OwnedFd, path: &Path) -> Result<()> {
    let stat = fstat(dir)?;
    let (shown, ours) = (path.display(), geteuid().as_raw());
    ensure!(
        stat.st_uid == ours,
        "{shown} is owned by uid {}, not by us: `chown {ours} {shown}`, or name another directory",
        stat.st_uid
    );
    let mode = stat.st_mode & 0o777;
    ensure!(mode & 0o077 == 0, "others may use {shown} (mode {mode:o}): wanted 700, `chmod 700 {shown}`");
    Ok(())
}

/// Describes why a directory cannot be used, and what to do about it.
fn refused(path: &Path, why: Errno) -> anyhow::Error {
    let (shown, ours) = (path.display(), geteuid().as_raw());
    let other = || path.ancestors().find_map(|above| Some((above, other_than_directory(above)?)));
    match (why, other()) {
        (Errno::NOTDIR | Errno::EXIST | Errno::LOOP | Errno::NOENT, Some((at, kind))) => {
            anyhow!("{} is {kind}: remove it, or name a directory", at.display())
        }
        (Errno::ACCESS | Errno::PERM, _) => anyhow!(
            "{shown}: user {ours} may not write there: `install -d -m 700 -o {ours} {shown}`, or name another directory"
        ),
        (Errno::ROFS, _) => {
            anyhow!("{shown}: the file system is mounted read-only: name a directory on another one")
        }
        (Errno::NOSPC | Errno::DQUOT, _) => anyhow!("{shown}: the disk is full: make room"),
        (why, _) => anyhow::Error::from(why).context(format!("open the directory {shown}")),
    }
}

/// Describes what lies at a path instead of a directory. Returns `None` if it is a directory or does not
/// exist.
fn other_than_directory(path: &Path) -> Option<&'static str> {
    let stat = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => None,
        FileType::Symlink => match statat(CWD, path, AtFlags::empty()) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => None,
            Ok(_) => Some("a symbolic link to something other than a directory"),
            Err(_) => Some("a symbolic link to nothing"),
        },
        FileType::RegularFile => Some("a file"),
        FileType::Fifo => Some("a named pipe"),
        FileType::Socket => Some("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("a device"),
        FileType::Unknown => Some("no directory"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    /// Returns why a directory is refused, and asserts that only examining it gives the same reason.
    fn refusal(path: &Path) -> String {
        let looked = format!("{:#}", examine_private(path).unwrap_err());
        let made = format!("{:#}", make_private(path).map(drop).unwrap_err());
        assert_eq!(looked, made);
        made
    }

    #[test]
    fn a_directory_is_made_for_us_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/b");
        examine_private(&path).unwrap();
        assert!(!place.path().join("a").exists(), "whoever only looks makes nothing");

        make_private(&path).unwrap();

        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
    }

    #[test]
    fn a_link_is_followed_and_a_file_and_a_directory_open_to_others_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir(at("real")).unwrap();
        symlink(at("real"), at("link")).unwrap();
        symlink(at("nothing"), at("loose")).unwrap();
        symlink(at("file"), at("to_file")).unwrap();
        fs::write(at("file"), b"").unwrap();
        for mode in [0o755, 0o770, 0o701] {
            fs::set_permissions(at("real"), fs::Permissions::from_mode(mode)).unwrap();
            assert!(refusal(&at("real")).contains("others may use"), "{mode:o}");
            assert!(refusal(&at("link")).contains("others may use"), "{mode:o}");
        }
        fs::set_permissions(at("real"), fs::Permissions::from_mode(0o700)).unwrap();

        assert!(make_private(&at("real")).is_ok());
        assert!(make_private(&at("link")).is_ok() && examine_private(&at("link")).is_ok());
        assert!(make_private(&at("link/below")).is_ok());
        for loose in [at("loose"), at("loose/below")] {
            assert!(refusal(&loose).contains("/loose is a symbolic link to nothing: "));
        }
        assert!(
            refusal(&at("to_file"))
                .contains("/to_file is a symbolic link to something other than a directory: ")
        );
        assert!(refusal(&at("file")).contains("/file is a file: "));
        assert!(refusal(&at("file/below")).contains("/file is a file: "));
    }
}
