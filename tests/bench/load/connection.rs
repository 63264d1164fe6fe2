//! A connection that the load client keeps busy.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::exchange::{Exchange, Way};
use super::transport::Transport;
use super::{http1, http2};

/// Space for heads, the framing of a body, and frames that arrive together.
const ROOM: usize = 32 << 10;

/// A connection and its requests in progress.
pub(super) struct Connection {
    transport: Transport,
    session: Session,
    out: Vec<u8>,
    /// How many bytes of `out` are written.
    sent: usize,
    received: Vec<u8>,
    /// How many bytes of `received` are filled.
    filled: usize,
}

enum Session {
    One(http1::Session),
    Two(http2::Session),
}

impl Connection {
    /// Connects. Sends no request before [`Connection::go_on`].
    pub(super) fn open(address: SocketAddr, exchange: &Exchange, way: &Way) -> Result<Connection> {
        let mut out = Vec::new();
        let session = match way.streams {
            None => {
                let session = http1::Session::new(exchange, way.renewed);
                session.begin(&mut out);
                Session::One(session)
            }
            Some(at_once) => {
                let mut session = http2::Session::new(exchange, at_once, way.tls.is_some())?;
                session.begin(&mut out);
                Session::Two(session)
            }
        };
        let transport = Transport::connect(address, way.tls.as_ref())?;
        if way.renewed {
            transport.end_at_once()?;
        }
        let received = vec![0; exchange.wants.len() * 2 + ROOM];
        Ok(Connection { transport, session, out, sent: 0, received, filled: 0 })
    }

    /// Writes and reads until either would block.
    pub(super) fn go_on(&mut self, latencies: &mut Vec<Duration>) -> Result<()> {
        self.write()?;
        loop {
            let space = &mut self.received[self.filled..];
            ensure!(!space.is_empty(), "the response is longer than what was wanted");
            let all = space.len();
            let count = match self.transport.read(space) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // This read may have completed a handshake, so that a request can be written now.
                    if self.write()? {
                        continue;
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("read a response"),
            };
            self.filled += count;
            let received = &self.received[..self.filled];
            let taken = match &mut self.session {
                Session::One(session) => session.take(received, &mut self.out, latencies)?,
                Session::Two(session) => session.take(received, &mut self.out, latencies)?,
            };
            self.received.copy_within(taken..self.filled, 0);
            self.filled -= taken;
            // epoll(7): a short read has emptied the socket, so the next byte triggers an event.
            if count < all && self.transport.tells_when_empty() {
                self.write()?;
                return Ok(());
            }
        }
    }

    /// Writes the rest of `out`, as far as the socket takes it. Returns whether it took any.
    fn write(&mut self) -> Result<bool> {
        let before = self.sent;
        while self.sent < self.out.len() {
            match self.transport.write(&self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(self.sent > before),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("write a request"),
            }
        }
        let any = self.sent > before;
        self.out.clear();
        self.sent = 0;
        Ok(any)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport.as_fd()
    }
}
