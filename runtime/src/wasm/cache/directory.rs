//! A directory that is ours alone.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::process::geteuid;

/// Opens a directory, which is made with its parents if there is none, for us alone.
///
/// # Errors
/// It cannot be made, or it is a symbolic link or no directory.
pub(super) fn make(path: &Path) -> Result<OwnedFd> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(CWD, path, flags, Mode::empty()) {
        Ok(dir) => Ok(dir),
        // If it could not be made, that is the reason.
        Err(refusal) => made.map_err(anyhow::Error::from).and(Err(refusal.into())),
    }
    .with_context(|| format!("open the directory {}", path.display()))
}

/// Opens a directory as [`make`] does, and insists that nobody else may use it.
///
/// # Errors
/// Those of [`make`]; it is not ours, or others may use it.
pub fn make_private(path: &Path) -> Result<OwnedFd> {
    let dir = make(path)?;
    // Of what is open, not of the path: from here on everything goes through the descriptor.
    let stat = fstat(&dir)?;
    let shown = path.display();
    ensure!(stat.st_uid == geteuid().as_raw(), "{shown} is owned by uid {}, not by us", stat.st_uid);
    let mode = stat.st_mode & 0o777;
    ensure!(mode & 0o077 == 0, "others may use {shown} (mode {mode:o}): wanted 700");
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn refusal(path: &Path) -> String {
        format!("{:#}", make_private(path).map(drop).unwrap_err())
    }

    #[test]
    fn a_directory_is_made_for_us_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/b");

        make_private(&path).unwrap();

        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
    }

    #[test]
    fn a_link_a_file_and_a_directory_open_to_others_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir(at("real")).unwrap();
        symlink(at("real"), at("link")).unwrap();
        fs::write(at("file"), b"").unwrap();
        for mode in [0o755, 0o770, 0o701] {
            fs::set_permissions(at("real"), fs::Permissions::from_mode(mode)).unwrap();
            assert!(refusal(&at("real")).contains("others may use"), "{mode:o}");
        }
        fs::set_permissions(at("real"), fs::Permissions::from_mode(0o700)).unwrap();

        assert!(make_private(&at("real")).is_ok());
        assert!(refusal(&at("link")).contains("open the directory"));
        assert!(refusal(&at("file")).contains("open the directory"));
        assert!(refusal(&at("file/below")).contains("open the directory"));
    }
}
