//! Finds and removes a stale socket at the path where a socket is wanted.

use anyhow::{Context, bail};
use rustix::fs::{AtFlags, FileType, Stat, statat};
use rustix::io::Errno;
use rustix::process::{Uid, geteuid};
use socket2::{Domain, SockAddr, Socket, Type};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

/// The occupant of the path.
#[derive(Debug, PartialEq, Eq)]
enum Occupant {
    /// Something that is not a socket.
    File(FileType),
    /// A socket that accepts connections.
    Live,
    /// A socket that no process listens on, and its owner.
    Stale(Uid),
    /// A socket whose state cannot be determined.
    Unclear(Errno),
}

/// Clears the path for a socket called `name`: removes a stale socket of this user and refuses anything else.
///
/// The caller holds the directory's lock, so no other Portcullis checks or removes anything meanwhile.
pub(super) fn clear(dir: &OwnedFd, name: &OsStr) -> anyhow::Result<()> {
    let before = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error).context("the path cannot be examined"),
    };
    judge(&look(dir, name, &before), geteuid())?;
    // A program that ignores the lock may have put another file there since.
    let now =
        statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).context("the stale socket vanished: start again")?;
    if !same_file(&before, &now) {
        bail!("another program replaced the file at this path just now: choose a path of your own");
    }
    rustix::fs::unlinkat(dir, name, AtFlags::empty()).context("the stale socket cannot be removed")
}

/// Refuses a file that is no socket, as [`clear`] does, and a socket of another user, in use or not. A socket of this
/// user passes: it may belong to the daemon that is to reload this configuration.
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
            "the path holds a socket of user {owner}, and this is user {}: run as that user, remove the socket or choose another path",
            ours.as_raw()
        ),
        other => judge(&Occupant::File(other), ours),
    }
}

/// Returns whether two stat(2) results describe the same file.
pub(super) fn same_file(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// Returns the path of `name` in an open directory. The path is short whatever the directory is called, so it fits
/// `sun_path`. Renaming the directory cannot redirect it.
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
            // EAGAIN: the queue is full, so a process listens.
            Some(Errno::AGAIN) => Occupant::Live,
            Some(Errno::CONNREFUSED) => Occupant::Stale(Uid::from_raw(stat.st_uid)),
            Some(errno) => Occupant::Unclear(errno),
            None => Occupant::Unclear(Errno::IO),
        },
    }
}

/// Tries to connect, without blocking.
fn probe(dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(through(dir, name))?)
}

fn judge(occupant: &Occupant, ours: Uid) -> anyhow::Result<()> {
    match occupant {
        Occupant::File(kind) => {
            let kind = describe(*kind);
            bail!(
                "the path holds {kind}, which the daemon does not remove: move it away or choose another path"
            )
        }
        Occupant::Live => bail!("another daemon is serving there: stop it or choose another path"),
        Occupant::Stale(owner) if *owner == ours => Ok(()),
        Occupant::Stale(owner) => bail!(
            "the path holds an unused socket of user {}, and this is user {}: remove it or choose another path",
            owner.as_raw(),
            ours.as_raw()
        ),
        Occupant::Unclear(errno) => bail!(
            "the path holds a socket, and it is unknown whether it is in use ({errno}): remove it or choose another path"
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
