//! The secret key of an installation, which authenticates cache entries.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, ensure};
use hmac::{Hmac, KeyInit as _};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, linkat, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;
use sha2::Sha256;

use super::names::{draft_name, random};
use super::private_directory;

/// The length of the secret in bytes: the output length of SHA-256, RFC 2104 §3.
const LENGTH: usize = 32;

/// A message authentication code under the key, ready for its message.
pub(super) type Mac = Hmac<Sha256>;

/// The key. It has no `Debug`, so it is never logged.
pub(super) struct Key(Mac);

impl Key {
    /// Reads the key from its file, and makes the file if it does not exist.
    ///
    /// # Errors
    /// The file cannot be made or read, has another owner, or is accessible to other users.
    pub(super) fn open(path: &Path) -> Result<Key> {
        let (parent, name) = path.parent().zip(path.file_name()).context("not the path of a file")?;
        let parent = private_directory::make(parent)?;
        let file = match read(&parent, name) {
            Err(Errno::NOENT) => {
                make(&parent, name).context("make it")?;
                read(&parent, name)
            }
            opened => opened,
        };
        let file = file.map_err(|refusal| match refusal {
            Errno::ACCESS => anyhow!("it cannot be read: delete it, and a new one is made"),
            refusal => anyhow::Error::from(refusal).context("open it"),
        })?;
        let stat = fstat(&file)?;
        ensure!(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile, "it is no file");
        ensure!(
            stat.st_uid == geteuid().as_raw(),
            "it is owned by uid {}, not by us: delete it",
            stat.st_uid
        );
        ensure!(stat.st_mode & 0o077 == 0, "others may use it (mode {:o}): delete it", stat.st_mode & 0o777);
        let mut secret = Vec::with_capacity(LENGTH + 1);
        (&file).take(LENGTH as u64 + 1).read_to_end(&mut secret)?;
        ensure!(secret.len() == LENGTH, "it is not {LENGTH} bytes long: delete it, and a new one is made");
        Ok(Key::of(&secret))
    }

    /// Checks that [`open`](Key::open) would succeed. Makes nothing.
    ///
    /// # Errors
    /// As `open`.
    pub(super) fn examine(path: &Path) -> Result<()> {
        if path.symlink_metadata().is_ok() {
            return Key::open(path).map(drop);
        }
        private_directory::examine(path.parent().context("not the path of a file")?).map(drop)
    }

    pub(super) fn of(secret: &[u8]) -> Key {
        Key(Mac::new_from_slice(secret).expect("HMAC takes a key of any length"))
    }

    /// Starts a message authentication code.
    pub(super) fn mac(&self) -> Mac {
        self.0.clone()
    }
}

fn read(parent: impl AsFd, name: &OsStr) -> Result<File, Errno> {
    // NONBLOCK: the file may be a FIFO, and opening one would block.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty()).map(File::from)
}

/// Makes the file atomically. If another daemon is faster, its key is kept.
fn make(parent: impl AsFd, name: &OsStr) -> Result<()> {
    let secret = random::<LENGTH>()?;
    let draft = draft_name()?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(&parent, &draft, flags, Mode::RUSR | Mode::WUSR)?);
    let written = file.write_all(&secret).and_then(|()| file.sync_all());
    let linked = match written {
        Ok(()) => match linkat(&parent, &draft, &parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(refusal) => Err(refusal.into()),
        },
        Err(error) => Err(error.into()),
    };
    unlinkat(&parent, &draft, AtFlags::empty())?;
    linked
}

#[cfg(test)]
mod tests {
    use super::*;
    use hmac::Mac as _;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn tag(key: &Key) -> Vec<u8> {
        key.mac().chain_update(b"x").finalize().into_bytes().to_vec()
    }

    #[test]
    fn a_key_is_made_once_and_read_by_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/portcullis/cache.key");

        let tags: Vec<_> = std::thread::scope(|scope| {
            let open = || tag(&Key::open(&path).unwrap());
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });

        assert!(tags.iter().all(|one| *one == tags[0]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_key_that_others_may_read_or_may_have_made_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache.key");
        let refusal = || Key::open(&path).map(drop).unwrap_err().to_string();

        fs::write(&path, [1; 32]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(refusal().contains("mode 640"));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Key::open(&path).is_ok());

        fs::write(&path, [1; 31]).unwrap();
        assert!(refusal().contains("32 bytes"));

        fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(refusal().contains("open it"));
    }
}
