//! The load client: one thread that keeps many connections busy.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::connection::Connection;
use super::exchange::{Exchange, Way};
use super::transport::connected;

/// A server that sends nothing for this long has failed.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Connections that repeat an exchange.
pub(crate) struct Client<'a> {
    address: SocketAddr,
    exchange: &'a Exchange,
    way: Way,
    connections: Vec<Connection>,
    readiness: OwnedFd,
}

impl Client<'_> {
    /// Connects. Sends no request before [`Client::run`].
    pub(crate) fn connect(address: SocketAddr, exchange: &Exchange, way: Way) -> Result<Client<'_>> {
        let readiness = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll_create1")?;
        let mut client = Client { address, exchange, way, connections: Vec::new(), readiness };
        for number in 0..client.way.connections {
            let connection = client.open(number)?;
            client.connections.push(connection);
        }
        Ok(client)
    }

    /// Repeats the exchange for `time`. Returns the latency of every response received. Requests in progress at the
    /// end continue in the next run.
    ///
    /// # Errors
    /// A response is wrong or missing.
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
                let before = latencies.len();
                connection.go_on(&mut latencies)?;
                if self.way.renewed && latencies.len() > before {
                    self.connections[number] = self.open(number)?;
                }
            }
        }
        Ok(latencies)
    }

    fn open(&self, number: usize) -> Result<Connection> {
        let connection = Connection::open(self.address, self.exchange, &self.way)?;
        // Edge-triggered: one registration for the lifetime of the connection, and both directions in one event.
        let edges = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&self.readiness, &connection, epoll::EventData::new_u64(number as u64), edges)?;
        Ok(connection)
    }
}

/// Opens connections that send one request, read the response, and then stay idle until they are dropped.
///
/// # Errors
/// A connection is refused, or closed without an answer.
pub(crate) fn idle(address: SocketAddr, connections: usize) -> Result<Vec<TcpStream>> {
    let idle = |_| {
        let mut stream = connected(address)?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n")?;
        // Any response will do. It is far smaller than a segment, so it arrives whole.
        ensure!(stream.read(&mut [0; 8 << 10])? > 0, "the server closed an idle connection");
        Ok(stream)
    };
    (0..connections).map(idle).collect::<Result<Vec<_>>>().context("open idle connections")
}
