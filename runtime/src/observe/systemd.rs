//! Messages to the service manager (sd_notify(3)); without one, nothing is sent.

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

/// How long sending may wait for a service manager that does not read.
const NOTIFY_WAIT: Duration = Duration::from_secs(1);

/// Reports that the daemon serves requests, after a start or a reload.
pub fn ready(status: &str) {
    tell(&["READY=1", &format!("STATUS={status}")]);
}

/// Reports that a reload has begun; [`ready`] ends it, whatever its outcome.
pub fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    // sd_notify(3): the time identifies the reload to systemd.
    tell(&["RELOADING=1", &format!("MONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1000)]);
}

/// Reports that the daemon is shutting down.
pub fn stopping() {
    tell(&["STOPPING=1", "STATUS=draining"]);
}

/// Sets the status line that people read.
pub fn status(status: &str) {
    tell(&[&format!("STATUS={status}")]);
}

/// Reports what is being compiled, and extends the start timeout by `time`.
pub fn compiling(status: &str, time: Duration) {
    // sd_notify(3): the start may take this long from now on, whatever TimeoutStartSec= is.
    tell(&[&format!("STATUS={status}"), &format!("EXTEND_TIMEOUT_USEC={}", time.as_micros())]);
}

/// Reports that the daemon is alive. The service manager restarts it if this report is late.
pub fn alive() {
    tell(&["WATCHDOG=1"]);
}

/// Reports that another process is the main process of the service from now on.
pub fn succeeded_by(process: u32) {
    tell(&[&format!("MAINPID={process}"), "STATUS=handed over"]);
}

/// Stores a descriptor in the service manager, which passes it to the next process under this name.
pub fn store(name: &str, descriptor: BorrowedFd<'_>) {
    told(send(&["FDSTORE=1", &format!("FDNAME={name}")], &[descriptor]));
}

/// Removes the stored descriptors of this name from the service manager.
pub fn discard(name: &str) {
    tell(&["FDSTOREREMOVE=1", &format!("FDNAME={name}")]);
}

/// Reports whether the service manager stores descriptors for the next process.
///
/// systemd sets the variable from version 254 on (systemd.exec(5), `$FDSTORE`). For older versions the unit has to set
/// it.
pub fn keeps_descriptors() -> bool {
    listens() && number("FDSTORE").is_some_and(|count| count > 0)
}

/// Returns the watchdog interval within which [`alive`] must be sent. `None` if there is no watchdog.
pub fn watchdog() -> Option<Duration> {
    let ours = number("WATCHDOG_PID").is_none_or(|process| process == u64::from(std::process::id()));
    number("WATCHDOG_USEC").filter(|&time| ours && time > 0).map(Duration::from_micros)
}

/// Reports whether there is a service manager to notify.
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
    socket.set_write_timeout(Some(NOTIFY_WAIT))?;
    let message = lines.iter().fold(String::new(), |mut message, line| {
        // A line break within a line would start a second assignment.
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
