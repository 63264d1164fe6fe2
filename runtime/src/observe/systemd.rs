//! What the service manager is told; without one, nothing happens.

use std::fmt::Write as _;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::time::{ClockId, clock_gettime};
use tracing::warn;

/// How long a message may wait for a service manager that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says that requests are served, after a start or a reload.
pub fn ready(status: &str) {
    tell(&["READY=1", &format!("STATUS={status}")]);
}

/// Says that a reload has begun; [`ready`] ends it, whatever came of it.
pub fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    // sd_notify(3): the time tells systemd which of several reloads this is.
    tell(&["RELOADING=1", &format!("MONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1000)]);
}

/// Says that the daemon is ending.
pub fn stopping() {
    tell(&["STOPPING=1", "STATUS=draining"]);
}

/// Says what the daemon is doing, in a line for people.
pub fn status(status: &str) {
    tell(&[&format!("STATUS={status}")]);
}

/// Says what is compiled, and how long that may take.
pub fn compiling(status: &str, time: Duration) {
    // sd_notify(3): a start may take this long from now on, whatever TimeoutStartSec= says.
    tell(&[&format!("STATUS={status}"), &format!("EXTEND_TIMEOUT_USEC={}", time.as_micros())]);
}

/// Says that the daemon is alive; the service manager restarts it when this fails to come.
pub fn alive() {
    tell(&["WATCHDOG=1"]);
}

/// Says that another process is the service from now on.
pub fn succeeded_by(process: u32) {
    tell(&[&format!("MAINPID={process}"), "STATUS=handed over"]);
}

/// Gives the service manager a descriptor to keep for the next process, which gets it under this name.
pub fn store(name: &str, descriptor: BorrowedFd<'_>) {
    told(send(&["FDSTORE=1", &format!("FDNAME={name}")], &[descriptor]));
}

/// Tells the service manager not to keep the descriptors of this name any longer.
pub fn discard(name: &str) {
    tell(&["FDSTOREREMOVE=1", &format!("FDNAME={name}")]);
}

/// Reports whether the service manager keeps descriptors for the next process.
///
/// systemd says so from version 254 on (systemd.exec(5), `$FDSTORE`); for those before, the unit has to.
pub fn keeps_descriptors() -> bool {
    listens() && number("FDSTORE").is_some_and(|count| count > 0)
}

/// Returns how long the service manager waits for [`alive`]; none: it does not.
pub fn watchdog() -> Option<Duration> {
    let ours = number("WATCHDOG_PID").is_none_or(|process| process == u64::from(std::process::id()));
    number("WATCHDOG_USEC").filter(|&time| ours && time > 0).map(Duration::from_micros)
}

/// Reports whether there is a service manager to tell.
pub fn listens() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn tell(lines: &[&str]) {
    told(send(lines, &[]));
}

fn told(outcome: io::Result<()>) {
    if let Err(error) = outcome {
        warn!("cannot reach the service manager: {error}");
    }
}

fn send(lines: &[&str], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match path.as_bytes() {
        // sd_notify(3): an abstract socket is written with "@".
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(&path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let message = lines.iter().fold(String::new(), |mut message, line| {
        // A line of ours that holds another one would be a message of its own.
        let _infallible = writeln!(message, "{}", line.replace('\n', " "));
        message
    });
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "one descriptor a message"));
    }
    sendmsg(&socket, &[IoSlice::new(message.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
