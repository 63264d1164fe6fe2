//! An accepted connection, in clear or encrypted.

use super::forward_io::forward_io;
use super::tls::Protocol;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::ioctl::{Getter, Opcode, ioctl};
use socket2::SockRef;
use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// The bytes of one connection, whichever kind of socket carries them.
///
/// An enum, not a boxed trait: the kinds are a closed set, and reads and writes stay free of indirection.
#[derive(Debug)]
pub enum Stream {
    /// A TCP connection.
    Tcp(TcpStream),
    /// A connection from this machine.
    Unix(UnixStream),
    /// A TCP connection whose TLS handshake is complete. Boxed: its buffers would make every connection large.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Reports whether the peer has closed its side, even while data it sent before is still unread. Reads nothing,
    /// never blocks.
    pub fn has_left(&self) -> bool {
        let mut polled = [PollFd::new(self, PollFlags::RDHUP)];
        // poll(2) reports HUP and ERR even if they are not requested.
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut polled, Some(&at_once)).is_ok_and(|told| told > 0)
    }

    /// Returns the number of bytes in the kernel's send queue that the peer has not taken: `SIOCOUTQ`, tcp(7) and
    /// unix(7). Returns 0 if the kernel does not report it. Bytes buffered in the TLS layer are not counted.
    pub fn unsent(&self) -> u64 {
        // Linux, asm-generic/ioctls.h: the same number as TIOCOUTQ.
        const SIOCOUTQ: Opcode = 0x5411;
        // SAFETY: this request writes one int and reads nothing: sock_do_ioctl, tcp_ioctl and unix_ioctl of Linux.
        let unsent = unsafe { ioctl(self, Getter::<SIOCOUTQ, c_int>::new()) };
        unsent.ok().and_then(|unsent| u64::try_from(unsent).ok()).unwrap_or_default()
    }

    /// Makes the next close send a reset instead of an orderly end (`SO_LINGER`, socket(7)). Data not yet sent by then
    /// is discarded. A Unix socket has no reset and closes as usual.
    pub fn reset(&self) {
        let socket = match self {
            Stream::Tcp(socket) => SockRef::from(socket),
            Stream::Tls(stream) => SockRef::from(stream.get_ref().0),
            Stream::Unix(_) => return,
        };
        // If the option is refused, the connection closes in the usual way.
        let _told = socket.set_linger(Some(Duration::ZERO));
    }

    /// Returns the protocol negotiated in the TLS handshake (ALPN, RFC 7301). `None` if the connection is in clear or
    /// the client offered none. Without ALPN, TLS implies HTTP/1.1; in clear, the first bytes decide.
    pub fn protocol(&self) -> Option<Protocol> {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => None,
            Stream::Tls(stream) => Protocol::named(stream.get_ref().1.alpn_protocol()?),
        }
    }

    /// Waits until the first byte of a TCP connection, or its end, has arrived. Consumes nothing.
    ///
    /// # Errors
    /// The connection broke.
    ///
    /// # Cancel safety
    /// A dropped wait loses nothing.
    pub async fn begun(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.peek(&mut [0]).await.map(drop),
            Stream::Unix(_) | Stream::Tls(_) => Ok(()),
        }
    }
}

forward_io!(Stream: Tcp, Unix, Tls);

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(socket) => socket.as_fd(),
            Stream::Unix(socket) => socket.as_fd(),
            Stream::Tls(stream) => stream.get_ref().0.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::IoSlice;
    use tokio::io::{AsyncReadExt, AsyncWrite as _, AsyncWriteExt};

    #[tokio::test]
    async fn bytes_pass_both_ways_and_shutdown_ends_the_read() {
        let (near, far) = UnixStream::pair().unwrap();
        let (mut near, mut far) = (Stream::Unix(near), Stream::Unix(far));
        assert!(near.is_write_vectored());

        let written = near.write_vectored(&[IoSlice::new(b"a"), IoSlice::new(b"b")]).await.unwrap();
        near.shutdown().await.unwrap();
        far.write_all(b"c").await.unwrap();

        let (mut said, mut answer) = (String::new(), [0]);
        far.read_to_string(&mut said).await.unwrap();
        near.read_exact(&mut answer).await.unwrap();
        assert_eq!((written, said.as_str(), &answer), (2, "ab", b"c"));
    }
}
