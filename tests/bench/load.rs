//! The client: one thread that keeps a number of connections busy, a request at a time on each.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::response;
use crate::rows::Exchange;

/// A server from which nothing comes for this long has failed.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Room for a response's head and the framing of its body.
const HEAD: usize = 8 << 10;

/// Connections that ask for the same thing over and over.
pub(crate) struct Client<'a> {
    exchange: &'a Exchange,
    connections: Vec<Connection>,
    readiness: OwnedFd,
}

struct Connection {
    stream: TcpStream,
    /// Bytes of the request that are written.
    sent: usize,
    began: Instant,
    received: Vec<u8>,
    /// Bytes of `received` that have come.
    filled: usize,
}

impl Client<'_> {
    /// Connects; nothing is asked before [`Client::run`].
    pub(crate) fn connect(
        address: SocketAddr,
        exchange: &Exchange,
        connections: usize,
    ) -> Result<Client<'_>> {
        let readiness = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll_create1")?;
        let connect = |number: usize| {
            let stream = connected(address)?;
            stream.set_nonblocking(true)?;
            // Edges: one call for the life of the connection, and both directions in one event.
            let edges = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(&readiness, &stream, epoll::EventData::new_u64(number as u64), edges)?;
            let received = vec![0; exchange.body.len() * 2 + HEAD];
            Ok(Connection { stream, sent: 0, began: Instant::now(), received, filled: 0 })
        };
        let connections = (0..connections).map(connect).collect::<Result<Vec<_>>>()?;
        Ok(Client { exchange, connections, readiness })
    }

    /// Asks and reads for a while. Returns how long each response took that came; requests that are
    /// under way at the end go on with the next run.
    ///
    /// # Errors
    /// A response is not the one that was wanted, or does not come.
    pub(crate) fn run(&mut self, time: Duration) -> Result<Vec<Duration>> {
        let end = Instant::now() + time;
        let mut latencies = Vec::with_capacity(1 << 20);
        let mut events = Vec::with_capacity(self.connections.len());
        while Instant::now() < end {
            epoll::wait(&self.readiness, spare_capacity(&mut events), Some(&PATIENCE))
                .context("epoll_wait")?;
            ensure!(!events.is_empty(), "nothing came for {} s", PATIENCE.tv_sec);
            for event in events.drain(..) {
                let number = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                let connection = self.connections.get_mut(number).context("an event of no connection")?;
                connection.go_on(self.exchange, &mut latencies)?;
            }
        }
        Ok(latencies)
    }
}

impl Connection {
    /// Writes what can be written and reads what is there.
    fn go_on(&mut self, exchange: &Exchange, latencies: &mut Vec<Duration>) -> Result<()> {
        self.write(exchange)?;
        loop {
            let space = &mut self.received[self.filled..];
            ensure!(!space.is_empty(), "the response is longer than what was wanted");
            let all = space.len();
            let count = match self.stream.read(space) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("read a response"),
            };
            self.filled += count;
            if response::is_whole(&self.received[..self.filled], &exchange.body)? {
                ensure!(self.sent == exchange.request.len(), "a response before the end of the request");
                latencies.push(self.began.elapsed());
                (self.filled, self.sent) = (0, 0);
                self.write(exchange)?;
            }
            // epoll(7): a read that is short has emptied the socket, and the next byte is an edge.
            if count < all {
                return Ok(());
            }
        }
    }

    /// Writes what is left of the request, as far as the socket takes it.
    fn write(&mut self, exchange: &Exchange) -> Result<()> {
        if self.sent == 0 {
            self.began = Instant::now();
        }
        while self.sent < exchange.request.len() {
            match self.stream.write(&exchange.request[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("write a request"),
            }
        }
        Ok(())
    }
}

/// Opens connections that ask once, are answered, and then keep still until they are dropped.
///
/// # Errors
/// A connection is refused, or closed without an answer.
pub(crate) fn idle(address: SocketAddr, connections: usize) -> Result<Vec<TcpStream>> {
    let idle = |_| {
        let mut stream = connected(address)?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n")?;
        // Whatever it is: it is far smaller than a segment, and comes in one.
        ensure!(stream.read(&mut [0; HEAD])? > 0, "the server closed an idle connection");
        Ok(stream)
    };
    (0..connections).map(idle).collect::<Result<Vec<_>>>().context("open idle connections")
}

fn connected(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
