//! Sockets that systemd bound and passed to this process.

use super::fd_name;
use super::listen_fds::{ActivationError, Announced, announced};
use crate::net::endpoint::{Endpoint, FdName};
use rustix::fs::OFlags;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// sd_listen_fds(3): the first descriptor passed, `SD_LISTEN_FDS_START`.
const FIRST: u32 = 3;
/// Set once the descriptors of this process are owned, so that no second call can own them.
static CLAIMED: AtomicBool = AtomicBool::new(false);

/// The sockets passed to this process. They stay open for its lifetime, because a listener may be removed and
/// configured again.
///
/// The variables stay in the daemon's environment: removing them is unsound once threads run. Handlers never inherit
/// that environment. Code that starts a child process must clear [`Activation::VARIABLES`].
#[derive(Debug)]
pub struct Activation {
    passed: Vec<PassedSocket>,
    // The reason shown when a socket is wanted and none was passed.
    absence: String,
}

#[derive(Debug)]
struct PassedSocket {
    number: u32,
    name: String,
    // Never closed before the process ends: a listener gets a copy, and the socket may be wanted again later.
    fd: OwnedFd,
    // Upgradable while a listener holds the socket.
    taken: Weak<()>,
}

/// A passed socket that can accept connections.
#[derive(Debug)]
pub(in crate::net) enum GivenSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A passed socket and the guard that marks it as taken.
#[derive(Debug)]
pub(in crate::net) struct PassedListener {
    pub(in crate::net) socket: GivenSocket,
    pub(in crate::net) taken: Arc<()>,
}

impl Activation {
    /// The variables of the protocol. A child process must not inherit them.
    pub const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

    /// Takes ownership of the sockets that systemd passed, and sets close-on-exec on each.
    ///
    /// Call it before anything else opens sockets. A missing socket is an error only when an endpoint wants it.
    ///
    /// # Errors
    /// Variables that contradict themselves or the open descriptors, and a second call.
    pub fn from_env() -> Result<Activation, ActivationError> {
        let [pid, fds, names] = Activation::VARIABLES.map(std::env::var_os);
        let names = match announced(pid, fds, names, std::process::id())? {
            Announced::Names(names) => names,
            Announced::Nothing(absence) => return Ok(Activation { passed: Vec::new(), absence }),
        };
        if CLAIMED.swap(true, Ordering::SeqCst) {
            return Err(ActivationError(
                "systemd's sockets were taken over before: keep the first Activation".to_owned(),
            ));
        }
        let mut passed = Vec::with_capacity(names.len());
        for (number, name) in (FIRST..).zip(names) {
            passed.push(PassedSocket { number, name, fd: claim(number)?, taken: Weak::new() });
        }
        Ok(Activation { passed, absence: String::new() })
    }

    /// An `Activation` for a process that got no sockets.
    pub fn none() -> Activation {
        Activation { passed: Vec::new(), absence: "no sockets were passed".to_owned() }
    }

    /// Takes the sockets that match and have no listener. Each socket has one listener at a time.
    pub(in crate::net) fn take(&mut self, wanted: &FdName) -> Result<Vec<PassedListener>, ActivationError> {
        if self.passed.is_empty() {
            return Err(refuse(
                wanted,
                &format!(
                    "{}: start the daemon from a systemd socket unit, or with systemd-socket-activate -l ADDR",
                    self.absence
                ),
            ));
        }
        let named: Vec<&mut PassedSocket> =
            self.passed.iter_mut().filter(|passed| passed.answers(wanted)).collect();
        if named.is_empty() {
            return Err(refuse(wanted, &self.unknown(wanted)));
        }
        let free: Vec<&mut PassedSocket> =
            named.into_iter().filter(|passed| passed.taken.strong_count() == 0).collect();
        if free.is_empty() {
            return Err(refuse(wanted, "another endpoint has taken it: list each socket once"));
        }
        for passed in &free {
            passed.check().map_err(|found| {
                refuse(
                    wanted,
                    &format!(
                        "descriptor {} ({}) {found}: pass listening stream sockets",
                        passed.number, passed.name
                    ),
                )
            })?;
        }
        free.into_iter().map(|passed| passed.give(wanted)).collect()
    }

    /// Removes and returns the descriptors that the previous process passed under `name`, unchecked.
    pub(in crate::net) fn inherited(&mut self, name: &str) -> Vec<OwnedFd> {
        let mine = self.passed.extract_if(.., |passed| passed.name == name);
        mine.map(|passed| passed.fd).collect()
    }

    /// Removes the remaining sockets of the previous process, and returns their names.
    pub(in crate::net) fn left(&mut self) -> Vec<String> {
        self.passed
            .extract_if(.., |passed| fd_name::is_ours(&passed.name))
            .map(|passed| passed.name)
            .collect()
    }

    /// Splits off the sockets that the previous process passed for these endpoints.
    pub fn part(&mut self, endpoints: &[Endpoint]) -> Activation {
        let names: Vec<String> = endpoints.iter().filter_map(|endpoint| fd_name::of(endpoint).ok()).collect();
        let passed = self.passed.extract_if(.., |passed| names.contains(&passed.name)).collect();
        Activation { passed, absence: self.absence.clone() }
    }

    /// Describes the sockets from systemd that no endpoint accepts from, and how to use each.
    pub(in crate::net) fn untaken(&self) -> Vec<String> {
        let idle = self.passed.iter().filter(|passed| passed.taken.strong_count() == 0);
        let idle = idle.filter(|passed| !fd_name::is_ours(&passed.name));
        idle.map(|PassedSocket { number, name, fd, .. }| {
            let address = address(fd);
            format!("systemd passed {address} (descriptor {number}, {name:?}), which no endpoint uses, so its clients would wait for ever: write fd://, or fd://{number}, in listen")
        })
        .collect()
    }

    /// Copies every socket for the next process, in the order in which they were passed.
    pub(in crate::net) fn copies(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        self.passed.iter().map(|passed| Ok((passed.name.clone(), passed.fd.try_clone()?))).collect()
    }

    fn unknown(&self, wanted: &FdName) -> String {
        let passed: Vec<String> = match wanted {
            FdName::All | FdName::Number(_) => {
                self.passed.iter().map(|passed| passed.number.to_string()).collect()
            }
            FdName::Name(_) => self.passed.iter().map(|passed| passed.name.clone()).collect(),
        };
        let kind = if matches!(wanted, FdName::Name(_)) { "name" } else { "number" };
        format!("systemd passed no socket of that {kind}; it passed: {}", passed.join(", "))
    }

    /// An `Activation` for a process that got these sockets.
    #[cfg(test)]
    pub(in crate::net) fn of(sockets: Vec<(u32, &str, OwnedFd)>) -> Activation {
        let passed = sockets.into_iter().map(|(number, name, fd)| PassedSocket {
            number,
            name: name.to_owned(),
            fd,
            taken: Weak::new(),
        });
        Activation { passed: passed.collect(), absence: String::new() }
    }
}

impl PassedSocket {
    fn answers(&self, wanted: &FdName) -> bool {
        if fd_name::is_ours(&self.name) {
            return false;
        }
        match wanted {
            FdName::All => true,
            FdName::Number(number) => self.number == *number,
            // One socket unit gives the same name to all its sockets.
            FdName::Name(name) => self.name == *name,
        }
    }

    /// Checks that the socket can accept connections; the error says what is wrong.
    fn check(&self) -> Result<AddressFamily, String> {
        check(&self.fd)
    }

    /// Returns a non-blocking copy of the socket and marks the socket as taken.
    fn give(&mut self, wanted: &FdName) -> Result<PassedListener, ActivationError> {
        let copy = self.fd.try_clone().map_err(|error| refuse(wanted, &error.to_string()))?;
        let socket = GivenSocket::of(copy).map_err(|found| refuse(wanted, &found))?;
        let taken = Arc::new(());
        self.taken = Arc::downgrade(&taken);
        Ok(PassedListener { socket, taken })
    }
}

impl GivenSocket {
    /// Makes a non-blocking listener of a descriptor.
    pub(in crate::net) fn of(fd: OwnedFd) -> Result<GivenSocket, String> {
        let family = check(&fd)?;
        rustix::io::ioctl_fionbio(&fd, true)
            .map_err(|error| format!("cannot be made non-blocking: {error}"))?;
        Ok(if family == AddressFamily::UNIX {
            GivenSocket::Unix(fd.into())
        } else {
            GivenSocket::Tcp(fd.into())
        })
    }
}

/// Returns the address of a socket for a message, or "a socket" if it cannot be determined.
fn address(fd: &OwnedFd) -> String {
    let bound = rustix::net::getsockname(fd).ok();
    let tcp = bound.clone().and_then(|bound| std::net::SocketAddr::try_from(bound).ok());
    let unix = bound.and_then(|bound| rustix::net::SocketAddrUnix::try_from(bound).ok());
    let path = unix.as_ref().and_then(|unix| unix.path()).map(|path| path.to_string_lossy().into_owned());
    match (tcp, path) {
        (Some(tcp), _) => format!("tcp://{tcp}"),
        (None, Some(path)) => format!("unix://{path}"),
        (None, None) => "a socket".to_owned(),
    }
}

/// Checks that a descriptor is a listening stream socket; the error says what is wrong.
fn check(fd: &OwnedFd) -> Result<AddressFamily, String> {
    let kind = sockopt::socket_type(fd).map_err(|_| "is not a socket".to_owned())?;
    if kind != SocketType::STREAM {
        return Err("is a datagram or packet socket".to_owned());
    }
    if sockopt::socket_acceptconn(fd) != Ok(true) {
        return Err("is a connection, not a listening socket (set Accept=no)".to_owned());
    }
    match sockopt::socket_domain(fd) {
        Ok(family @ (AddressFamily::INET | AddressFamily::INET6 | AddressFamily::UNIX)) => Ok(family),
        _ => Err("is of a family other than IPv4, IPv6 and Unix".to_owned()),
    }
}

fn refuse(wanted: &FdName, why: &str) -> ActivationError {
    ActivationError(format!("fd://{wanted}: {why}"))
}

/// Takes ownership of one descriptor that the protocol passed to this process.
fn claim(number: u32) -> Result<OwnedFd, ActivationError> {
    let lie = |what: &str| {
        ActivationError(format!("LISTEN_FDS counts descriptor {number}, which {what}: let systemd set it"))
    };
    let raw = RawFd::try_from(number).map_err(|_| lie("is out of range"))?;
    // /proc is asked, because a call on the descriptor itself would have to promise that it is open.
    let info =
        std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).map_err(|_| lie("is not open"))?;
    if !is_inherited(&info) {
        return Err(lie("this process opened itself"));
    }
    // SAFETY: the descriptor is open and nothing in this process owns it. The check above found it in
    // /proc/self/fdinfo without close-on-exec, so it came through execve(2): std, tokio, rustix and socket2 open every
    // descriptor with close-on-exec, and this crate opens none without it. It is not owned twice: `from_env` swaps
    // `CLAIMED` before the only call of this function, so its loop runs once, and the loop never repeats a number.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    fcntl_getfd(&fd).and_then(|flags| fcntl_setfd(&fd, flags | FdFlags::CLOEXEC)).map_err(|error| {
        ActivationError(format!("descriptor {number} cannot be kept from children: {error}"))
    })?;
    Ok(fd)
}

/// Parses `flags:` of proc_pid_fdinfo(5), in octal. A descriptor without close-on-exec existed when the program began.
fn is_inherited(fdinfo: &str) -> bool {
    let flags = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok());
    flags.is_some_and(|flags| flags & OFlags::CLOEXEC.bits() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening() -> OwnedFd {
        TcpListener::bind("127.0.0.1:0").unwrap().into()
    }

    fn name(text: &str) -> FdName {
        FdName::Name(text.to_owned())
    }

    #[test]
    fn a_descriptor_of_our_own_is_never_claimed() {
        use std::os::fd::AsRawFd;
        let ours = listening();
        let number = u32::try_from(ours.as_raw_fd()).unwrap();
        assert!(is_inherited("pos:\t0\nflags:\t02\nmnt_id:\t9\n"));
        assert!(!is_inherited("pos:\t0\n"));

        let refusal = claim(number).unwrap_err().to_string();

        assert!(refusal.contains("which this process opened itself"), "{refusal}");
    }

    #[test]
    fn a_socket_is_taken_once_and_again_when_its_listener_is_gone() {
        let mut activation =
            Activation::of(vec![(3, "api", listening()), (4, "web", listening()), (5, "web", listening())]);
        let refused = |outcome: Result<Vec<PassedListener>, ActivationError>| {
            outcome.is_err_and(|error| error.to_string().contains("another endpoint has taken it"))
        };

        let web = activation.take(&name("web")).unwrap();
        let rest = activation.take(&FdName::All).unwrap();

        assert_eq!((web.len(), rest.len()), (2, 1));
        assert!(refused(activation.take(&FdName::Number(4))));
        assert!(refused(activation.take(&FdName::All)));
        drop(web);
        assert_eq!(activation.take(&FdName::Number(4)).unwrap().len(), 1);
    }

    #[test]
    fn what_the_process_before_passed_is_not_systemd_s() {
        let unix = fd_name::of(&"unix:///p.sock".parse().unwrap()).unwrap();
        let mut activation = Activation::of(vec![(3, "web", listening()), (4, &unix, listening())]);

        assert_eq!(activation.take(&FdName::All).unwrap().len(), 1);
        assert!(activation.take(&FdName::Number(4)).is_err());
        assert_eq!(activation.left(), [unix]);
        assert_eq!(activation.copies().unwrap().len(), 1);
    }

    #[test]
    fn a_wrong_name_or_number_is_told_what_there_is() {
        let mut activation = Activation::of(vec![(3, "api", listening()), (4, "admin", listening())]);

        let by_name = activation.take(&name("web")).unwrap_err().to_string();
        let by_number = activation.take(&FdName::Number(5)).unwrap_err().to_string();

        assert_eq!(by_name, "fd://web: systemd passed no socket of that name; it passed: api, admin");
        assert_eq!(by_number, "fd://5: systemd passed no socket of that number; it passed: 3, 4");
    }

    #[test]
    fn without_sockets_the_refusal_says_how_to_pass_some() {
        let refusal = Activation::none().take(&FdName::All).unwrap_err().to_string();

        assert!(
            refusal.starts_with("fd://: no sockets were passed: start the daemon from a systemd socket unit"),
            "{refusal}"
        );
    }

    #[test]
    fn what_cannot_be_accepted_from_is_named_and_none_is_taken() {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into();
        let file = tempfile::tempfile().unwrap().into();
        let connection = std::os::unix::net::UnixStream::pair().unwrap().0.into();
        let mut activation = Activation::of(vec![
            (3, "ok", listening()),
            (4, "udp", udp),
            (5, "file", file),
            (6, "conn", connection),
        ]);

        let mut refusal = |wanted| activation.take(&wanted).unwrap_err().to_string();

        assert!(refusal(FdName::All).contains("descriptor 4 (udp) is a datagram"));
        assert!(refusal(name("file")).contains("is not a socket"));
        assert!(refusal(name("conn")).contains("is a connection"));
        assert_eq!(activation.take(&FdName::Number(3)).unwrap().len(), 1);
    }
}
