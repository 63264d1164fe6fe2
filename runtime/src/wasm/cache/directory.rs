//! A directory that is ours alone.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, fstat, lstat, openat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// Opens a directory, which is made with its parents if there is none, for us alone. A link may lead to
/// it, as systemd has one lead to what is a dynamic user's, systemd.exec(5): it is followed here, once.
///
/// # Errors
/// It cannot be made, or it is no directory.
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

/// Opens a directory as [`make`] does, and insists that nobody else may use it.
///
/// # Errors
/// Those of [`make`]; it is not ours, or others may use it.
pub fn make_private(path: &Path) -> Result<OwnedFd> {
    let dir = make(path)?;
    private(&dir, path)?;
    Ok(dir)
}

/// Says whether [`make_private`] would have a directory that can be written to, and makes nothing.
///
/// # Errors
/// Those of [`make_private`]; nothing can be written there.
pub fn examine_private(path: &Path) -> Result<()> {
    examine(path)?.map_or(Ok(()), |dir| private(&dir, path))
}

/// Opens a directory that can be written to, or says that it could be made.
///
/// # Errors
/// Those of [`make`]; nothing can be written there.
pub(super) fn examine(path: &Path) -> Result<Option<OwnedFd>> {
    let writable = |dir: &OwnedFd| {
        accessat(dir, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
            .map_err(|refusal| refused(path, refusal))
    };
    match open(path) {
        Ok(dir) => writable(&dir).map(|()| Some(dir)),
        // A link to nothing: nobody makes what it leads to.
        Err(Errno::NOENT) if lstat(path).is_ok() => Err(refused(path, Errno::NOENT)),
        Err(Errno::NOENT) => {
            let above = path.ancestors().skip(1).map(|above| match above.as_os_str() {
                nothing if nothing.is_empty() => Path::new("."),
                _ => above,
            });
            let mut above = above.skip_while(|above| matches!(lstat(*above), Err(Errno::NOENT)));
            let above = above.next().unwrap_or(Path::new("/"));
            // Links on the way are followed, as by who makes what is missing.
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

/// Insists that a directory is ours, and nobody else's. It is open: whoever has made a link on the way can
/// lead us only to what is ours alone, and from here on everything goes through the descriptor, whatever
/// comes to be at the path.
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

/// Says why a directory cannot be had, and what to do about it.
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

/// Says what lies at a path that is no directory; none: a directory does, or nothing.
fn other_than_directory(path: &Path) -> Option<&'static str> {
    let stat = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => None,
        FileType::Symlink => match statat(CWD, path, AtFlags::empty()) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => None,
            Ok(_) => Some("a symbolic link to what is no directory"),
            Err(_) => Some("a symbolic link to what is not there"),
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

    /// Says why a directory is refused; for the same reason by who only looks.
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
            assert!(refusal(&loose).contains("/loose is a symbolic link to what is not there: "));
        }
        assert!(refusal(&at("to_file")).contains("/to_file is a symbolic link to what is no directory: "));
        assert!(refusal(&at("file")).contains("/file is a file: "));
        assert!(refusal(&at("file/below")).contains("/file is a file: "));
    }
}
