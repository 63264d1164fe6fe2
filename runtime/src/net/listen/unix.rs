//! Binds a Unix socket that appears at its path complete: with its mode, its group, and listening.

use super::options::BindOptions;
use super::socket_file::{Lock, SocketFile, open_directory};
use super::stale_socket::{self, through};
use super::unix_group;
use crate::net::endpoint::LONGEST_PATH;
use anyhow::{Context, anyhow, bail};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, RenameFlags, accessat, mkdirat, statat, unlinkat};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

/// The longest wait for another daemon that binds in the same directory.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// The socket's name in the hidden directory.
const HIDDEN: &str = "s";

/// A private directory beside the socket's path, in which the socket is prepared. Dropping it removes the directory.
struct PrivateDir<'a> {
    parent: &'a OwnedFd,
    name: OsString,
    dir: OwnedFd,
}

/// Binds a socket in a hidden directory, prepares it, then moves it into place.
///
/// Rejected: umask(2) around bind, because it affects the whole process; chmod(2) after bind, because clients can
/// connect before it. Blocks while another daemon binds in the same directory.
pub(super) fn bind(path: &Path, options: &BindOptions) -> anyhow::Result<(UnixListener, SocketFile)> {
    let name = check(path, options)?;
    let dir = open_directory(path)?;
    let lock =
        Lock::take(&dir, LOCK_WAIT).context("another program is binding in this directory: start again")?;
    stale_socket::clear(&dir, name)?;

    let nook = PrivateDir::make(&dir, name, path).map_err(|error| match error.downcast::<Errno>() {
        Ok(why) => unwritable(path, why),
        Err(error) => error,
    })?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket
        .bind(&SockAddr::unix(through(&nook.dir, OsStr::new(HIDDEN)))?)
        .context("the socket cannot be made (is /proc mounted?)")?;
    // Listen before the move: a visible socket must accept connections.
    socket.listen(options.backlog_for_kernel())?;
    // The group is set before the mode, so the mode never applies to the wrong group.
    if let Some(wanted) = &options.unix_group {
        rustix::fs::chownat(
            &nook.dir,
            HIDDEN,
            None,
            Some(unix_group::find(wanted)?),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .with_context(|| format!("group {wanted:?}: join the group, or run as root"))?;
    }
    rustix::fs::chmodat(&nook.dir, HIDDEN, Mode::from_raw_mode(options.unix_mode), AtFlags::empty())?;
    let made = statat(&nook.dir, HIDDEN, AtFlags::SYMLINK_NOFOLLOW)?;
    rustix::fs::renameat_with(&nook.dir, HIDDEN, &dir, name, RenameFlags::NOREPLACE)
        .context("the socket cannot be moved into place")?;
    drop(nook);
    let name = name.to_owned();
    drop(lock);
    Ok((UnixListener::from(OwnedFd::from(socket)), SocketFile::made(dir, name, made)))
}
/// Checks whether [`bind`] could make a socket at a path. Makes nothing and connects to nothing, so a daemon that
/// serves there does not notice.
pub(super) fn examine(path: &Path, options: &BindOptions) -> anyhow::Result<()> {
    let name = check(path, options)?;
    let dir = open_directory(path)?;
    accessat(&dir, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
        .map_err(|refusal| unwritable(path, refusal))?;
    stale_socket::examine(&dir, name)
}

/// Checks the options and the path without touching the file system, and returns the socket's name.
fn check<'p>(path: &'p Path, options: &BindOptions) -> anyhow::Result<&'p OsStr> {
    if options.unix_mode & !0o777 != 0 {
        bail!(
            "mode {:o} is not a mode for a socket: write three octal digits, as in 0660",
            options.unix_mode
        );
    }
    let length = path.as_os_str().len();
    if length > LONGEST_PATH {
        bail!(
            "the path has {length} bytes and a client can name {LONGEST_PATH} at most: choose a shorter one"
        );
    }
    path.file_name().context("the path names a directory: add a file name")
}

/// Explains why nothing can be created beside a socket, and what to do.
fn unwritable(path: &Path, why: Errno) -> anyhow::Error {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (shown, ours) = (parent.display(), rustix::process::geteuid().as_raw());
    match why {
        Errno::ACCESS | Errno::PERM => anyhow!(
            "user {ours} may not make a socket in {shown}: give it the directory (`chown {ours} {shown}`), or choose another path"
        ),
        Errno::ROFS => anyhow!("{shown} is mounted read-only: choose a path on another file system"),
        Errno::NOSPC | Errno::DQUOT => anyhow!("the disk of {shown} is full: make room"),
        why => anyhow::Error::from(why).context(format!("no socket can be made in {shown}")),
    }
}

impl PrivateDir<'_> {
    /// Makes the directory. Its name is fixed for each socket. An existing directory was therefore left by a killed
    /// daemon and is removed; the caller holds the lock.
    fn make<'a>(parent: &'a OwnedFd, socket: &OsStr, path: &Path) -> anyhow::Result<PrivateDir<'a>> {
        let mut name = OsString::from(".");
        name.push(socket);
        name.push(".binding");
        if let Ok(left) = PrivateDir::open(parent, name.clone()) {
            drop(left);
        }
        match mkdirat(parent, &name, Mode::RWXU) {
            Err(Errno::EXIST) => {
                let beside = path.with_file_name(&name);
                bail!(
                    "{beside}, where the socket is made, exists already, and is open to others or not empty: \
                     look at it, then remove it (rm -r {beside})",
                    beside = beside.display()
                )
            }
            made => made?,
        }
        PrivateDir::open(parent, name)
    }

    fn open(parent: &OwnedFd, name: OsString) -> anyhow::Result<PrivateDir<'_>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir =
            rustix::fs::openat(parent, &name, flags, Mode::empty()).with_context(|| format!("{name:?}"))?;
        if rustix::fs::fstat(&dir)?.st_uid != rustix::process::geteuid().as_raw() {
            bail!("the directory {name:?} is not ours");
        }
        // Corrects the mode under any umask or later change. It acts on the open directory, not on its name.
        rustix::fs::chmodat(CWD, format!("/proc/self/fd/{}", dir.as_raw_fd()), Mode::RWXU, AtFlags::empty())
            .context("a private directory cannot be made (is /proc mounted?)")?;
        Ok(PrivateDir { parent, name, dir })
    }
}

impl Drop for PrivateDir<'_> {
    fn drop(&mut self) {
        let _ = unlinkat(&self.dir, HIDDEN, AtFlags::empty());
        let _ = unlinkat(self.parent, &self.name, AtFlags::REMOVEDIR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::UnixStream;
    use std::path::PathBuf;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.sock");
        (dir, path)
    }

    fn bound(path: &Path) -> anyhow::Result<(UnixListener, SocketFile)> {
        bind(path, &BindOptions::default())
    }

    fn refusal(path: &Path) -> String {
        format!("{:#}", bound(path).unwrap_err())
    }

    #[test]
    fn the_socket_has_its_mode_and_leaves_nothing_beside_it() {
        let (dir, path) = place();

        let made = bound(&path).unwrap();

        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o660);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        UnixStream::connect(&path).unwrap();
        drop(made);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn whoever_sees_the_socket_sees_its_final_mode() {
        const LOOKS: u32 = 20_000;
        let (_dir, path) = place();
        let (looks, wrong) = (AtomicU32::new(0), AtomicU32::new(0));
        let options = BindOptions { unix_mode: 0o640, ..BindOptions::default() };

        let watch = || {
            while looks.load(Ordering::Relaxed) < LOOKS {
                let Ok(meta) = fs::symlink_metadata(&path) else { continue };
                wrong.fetch_add(u32::from(meta.mode() & 0o777 != 0o640), Ordering::Relaxed);
                looks.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(watch);
            while looks.load(Ordering::Relaxed) < LOOKS {
                bind(&path, &options).unwrap();
            }
        });

        assert_eq!(wrong.into_inner(), 0);
    }

    #[test]
    fn a_directory_locked_by_another_makes_the_leaver_leave_its_file() {
        let (dir, path) = place();
        let made = bound(&path).unwrap();
        let other = open_directory(&path).unwrap();
        let _lock = Lock::take(&other, Duration::ZERO).unwrap();

        drop(made);

        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_stale_socket_of_ours_is_replaced() {
        let (_dir, path) = place();
        drop(UnixListener::bind(&path).unwrap());

        let _made = bound(&path).unwrap();

        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_live_socket_is_refused_and_stays() {
        let (_dir, path) = place();
        let _first = bound(&path).unwrap();

        assert_eq!(refusal(&path), "another daemon is serving there: stop it or choose another path");

        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn what_is_not_a_socket_is_named_refused_and_kept() {
        let (dir, path) = place();
        fs::write(&path, "precious").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();

        assert!(refusal(&path).starts_with("the path holds a file"));
        assert!(refusal(&link).starts_with("the path holds a symbolic link"));
        assert!(refusal(dir.path()).starts_with("the path holds a directory"));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn only_our_own_file_is_removed_at_the_end() {
        let (dir, path) = place();
        let ours = bound(&path).unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        let _theirs = UnixListener::bind(&path).unwrap();

        drop(ours);

        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn of_many_that_start_at_once_over_a_stale_socket_one_wins() {
        const STARTERS: usize = 4;
        let (_dir, path) = place();
        for _ in 0..25 {
            drop(UnixListener::bind(&path).unwrap());
            let start = Barrier::new(STARTERS);

            let attempt = || {
                start.wait();
                bound(&path).ok()
            };
            let won: Vec<_> = std::thread::scope(|scope| {
                let starters = [(); STARTERS].map(|()| scope.spawn(attempt));
                starters.into_iter().filter_map(|starter| starter.join().unwrap()).collect()
            });

            assert_eq!(won.len(), 1);
            UnixStream::connect(&path).unwrap();
        }
    }

    #[test]
    fn what_a_killed_daemon_left_does_not_stop_the_next() {
        let (dir, path) = place();
        let left = dir.path().join(".p.sock.binding");
        for mode in [0o700, 0o755, 0o500, 0] {
            fs::create_dir(&left).unwrap();
            drop(UnixListener::bind(left.join(HIDDEN)).unwrap());
            fs::set_permissions(&left, fs::Permissions::from_mode(mode)).unwrap();

            let _made = bound(&path).unwrap();

            assert!(!left.exists(), "{mode:o}");
        }
    }

    #[test]
    fn what_lies_where_the_socket_is_made_is_kept_and_its_whole_path_named() {
        let (dir, path) = place();
        let left = dir.path().join(".p.sock.binding");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("precious"), "").unwrap();

        let refusal = refusal(&path);

        assert!(refusal.contains(&format!("remove it (rm -r {})", left.display())), "{refusal}");
        assert!(left.join("precious").exists());
    }

    #[test]
    fn a_path_of_107_bytes_is_bound_and_one_of_108_refused() {
        let dir = tempfile::tempdir().unwrap();
        let room = LONGEST_PATH - dir.path().as_os_str().len() - 1;
        let longest = dir.path().join("x".repeat(room));

        let _made = bound(&longest).unwrap();

        UnixStream::connect(&longest).unwrap();
        assert!(refusal(&dir.path().join("x".repeat(room + 1))).contains("108 bytes"));
    }

    #[test]
    fn a_missing_directory_and_an_unknown_group_are_named() {
        let (dir, path) = place();
        let options = BindOptions { unix_group: Some("no such group".to_owned()), ..BindOptions::default() };

        assert!(refusal(&dir.path().join("no/p.sock")).ends_with("/no does not exist: create it"));
        let unknown = bind(&path, &options).unwrap_err().to_string();
        assert!(unknown.contains("not found in /etc/group"), "{unknown}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn our_own_group_is_given_by_number() {
        let (_dir, path) = place();
        let gid = rustix::process::getegid().as_raw();
        let options = BindOptions { unix_group: Some(gid.to_string()), ..BindOptions::default() };

        let _made = bind(&path, &options).unwrap();

        assert_eq!(fs::metadata(&path).unwrap().gid(), gid);
    }
}
