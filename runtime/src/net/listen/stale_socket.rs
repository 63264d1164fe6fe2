//! What already stands at the path where a socket is wanted.

use anyhow::{Context, bail};
use rustix::fs::{AtFlags, FileType, Stat, statat};
use rustix::io::Errno;
use rustix::process::{Uid, geteuid};
use socket2::{Domain, SockAddr, Socket, Type};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

/// What a look at the path found.
#[derive(Debug, PartialEq, Eq)]
enum Occupant {
    /// Something that is not a socket.
    File(FileType),
    /// A socket that answers.
    Live,
    /// A socket that nobody listens on.
    Stale(Uid),
    /// A socket that cannot be judged.
    Unclear(Errno),
}

/// Clears the way for a socket called `name`: removes a stale one of ours and refuses anything else.
///
/// The caller holds the directory's lock, so no other daemon of ours looks or removes meanwhile.
pub(super) fn clear(dir: &OwnedFd, name: &OsStr) -> anyhow::Result<()> {
    let before = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error).context("the path cannot be examined"),
    };
    judge(&look(dir, name, &before), geteuid())?;
    // A program that does not know our lock may have put something else there since.
    let now =
        statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).context("the stale socket vanished: start again")?;
    if !same_file(&before, &now) {
        bail!("another program replaced the file at this path just now: choose a path of your own");
    }
    rustix::fs::unlinkat(dir, name, AtFlags::empty()).context("the stale socket cannot be removed")
}

/// Refuses what is no socket, as [`clear`] would, and one of another user, whether it is in use or not; one of
/// ours may be that of a daemon which is to read the same configuration anew.
pub(super) fn examine(dir: &OwnedFd, name: &OsStr) -> anyhow::Result<()> {
    let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error).context("the path cannot be examined"),
    };
    let (owner, ours) = (stat.st_uid, geteuid());
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket if owner == ours.as_raw() => Ok(()),
        FileType::Socket => bail!(
            "the path holds a socket of user {owner}, and this is user {}: be that user, remove it or choose another path",
            ours.as_raw()
        ),
        other => judge(&Occupant::File(other), ours),
    }
}

/// Says whether two answers of stat(2) are of one file.
pub(super) fn same_file(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// The path of `name` in an open directory. It is short whatever the directory is called, so it fits
/// `sun_path`, and nobody who renames the directory can lead it elsewhere.
pub(super) fn through(dir: &impl AsFd, name: &OsStr) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd())).join(name)
}

fn look(dir: &OwnedFd, name: &OsStr, stat: &Stat) -> Occupant {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => {}
        other => return Occupant::File(other),
    }
    match probe(dir, name) {
        Ok(()) => Occupant::Live,
        Err(error) => match Errno::from_io_error(&error) {
            // EAGAIN: its queue is full, so somebody listens.
            Some(Errno::AGAIN) => Occupant::Live,
            Some(Errno::CONNREFUSED) => Occupant::Stale(Uid::from_raw(stat.st_uid)),
            Some(errno) => Occupant::Unclear(errno),
            None => Occupant::Unclear(Errno::IO),
        },
    }
}

/// Tries to connect, without waiting for anyone.
fn probe(dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(through(dir, name))?)
}

fn judge(occupant: &Occupant, ours: Uid) -> anyhow::Result<()> {
    match occupant {
        Occupant::File(kind) => {
            let kind = describe(*kind);
            bail!("the path holds {kind}, which is not ours to remove: move it away or choose another path")
        }
        Occupant::Live => bail!("another daemon is serving there: stop it or choose another path"),
        Occupant::Stale(owner) if *owner == ours => Ok(()),
        Occupant::Stale(owner) => bail!(
            "the path holds an unused socket of user {}, and this is user {}: remove it or choose another path",
            owner.as_raw(),
            ours.as_raw()
        ),
        Occupant::Unclear(errno) => bail!(
            "the path holds a socket, and whether it is in use cannot be told ({errno}): remove it or choose another path"
        ),
    }
}

fn describe(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Uid = Uid::from_raw_unchecked(1000);

    #[test]
    fn only_our_own_stale_socket_may_go() {
        assert!(judge(&Occupant::Stale(OURS), OURS).is_ok());

        for other in [
            Occupant::Live,
            Occupant::Stale(Uid::ROOT),
            Occupant::Unclear(Errno::ACCESS),
            Occupant::File(FileType::RegularFile),
            Occupant::File(FileType::Symlink),
        ] {
            assert!(judge(&other, OURS).is_err(), "{other:?}");
        }
    }

    #[test]
    fn root_does_not_remove_another_user_s_socket() {
        let refusal = judge(&Occupant::Stale(OURS), Uid::ROOT).unwrap_err().to_string();

        assert!(refusal.contains("socket of user 1000, and this is user 0"), "{refusal}");
    }
}
