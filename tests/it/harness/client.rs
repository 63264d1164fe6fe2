//! An HTTP client that exposes every byte: one connection, written and read by hand.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use super::PATIENCE;

/// One connection.
pub(crate) struct Client {
    pub(super) stream: Stream,
    /// Received bytes that are not consumed yet.
    pub(super) buffer: Vec<u8>,
}

pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A response without its framing.
#[derive(Debug)]
pub(crate) struct Response {
    /// Status line and fields, with the blank line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// Connects to a port of 127.0.0.1.
    pub(crate) fn tcp(port: u16) -> Client {
        Client::to(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// Connects to a port of ::1.
    pub(crate) fn tcp6(port: u16) -> Client {
        Client::to(SocketAddr::from((Ipv6Addr::LOCALHOST, port)))
    }

    /// Connects to a port of 127.0.0.1 from another loopback address.
    pub(crate) fn tcp_from(source: Ipv4Addr, port: u16) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into(), PATIENCE).unwrap();
        Client::connected(socket.into())
    }

    /// As [`Client::tcp_from`], with a small receive buffer. Otherwise a client that reads nothing may buffer tens of
    /// MiB, and delay no job.
    pub(crate) fn narrow(source: Ipv4Addr, port: u16) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into(), PATIENCE).unwrap();
        Client::connected(socket.into())
    }

    /// Connects to an address.
    pub(crate) fn to(address: SocketAddr) -> Client {
        Client::connected(TcpStream::connect_timeout(&address, PATIENCE).unwrap())
    }

    fn connected(stream: TcpStream) -> Client {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client::over(Stream::Tcp(stream))
    }

    /// Connects to a Unix socket.
    pub(crate) fn unix(path: &Path) -> Client {
        Client::try_unix(path).unwrap()
    }

    /// Connects to a Unix socket; an error if no process listens on it.
    pub(crate) fn try_unix(path: &Path) -> std::io::Result<Client> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client::over(Stream::Unix(stream)))
    }

    /// Sets how long to wait for each read.
    pub(crate) fn patient(self, patience: Duration) -> Client {
        self.stream.set_read_timeout(patience);
        self
    }

    pub(super) fn over(stream: Stream) -> Client {
        Client { stream, buffer: Vec::new() }
    }

    /// Returns the TCP connection; panics for a Unix socket.
    pub(crate) fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Tcp(stream) => stream,
            Stream::Tls(stream) => &stream.sock,
            Stream::Unix(_) => panic!("a Unix socket"),
        }
    }

    /// Closes the client's sending side; the server may continue.
    pub(crate) fn shut(&self) {
        match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Stream::Tls(_) => panic!("TLS has no half"),
        }
    }

    /// Sends bytes unchanged.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends bytes to a server that may have closed the connection.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Closes the connection with a reset, like a client that has crashed.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(self.socket()).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Sends a GET request and returns the response.
    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.ask("GET", target, "")
    }

    /// Sends a GET request on a connection that the server may have closed. Returns `None` if it has.
    pub(crate) fn get_or_closed(&mut self, target: &str) -> Option<Response> {
        let sent = self.try_send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let open = !self.buffer.is_empty() || (sent.is_ok() && self.is_answered());
        open.then(|| self.response())
    }

    /// Sends a request without a body; `fields` are whole lines.
    pub(crate) fn ask(&mut self, method: &str, target: &str, fields: &str) -> Response {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        if method == "HEAD" {
            return Response { head: self.head(), body: Vec::new() };
        }
        self.response()
    }

    /// Sends a request with a body of known length; `fields` are whole lines.
    pub(crate) fn submit(&mut self, method: &str, target: &str, fields: &str, body: &[u8]) -> Response {
        let length = body.len();
        self.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n{fields}\r\n"
        ));
        self.send(body);
        self.response()
    }

    /// Reads a response.
    pub(crate) fn response(&mut self) -> Response {
        let response = Response { head: self.head(), body: Vec::new() };
        let body = match (response.field("content-length"), response.field("transfer-encoding")) {
            (Some(length), _) => self.take(length.parse().unwrap()),
            (None, Some("chunked")) => self.chunks(),
            (None, Some(other)) => panic!("Transfer-Encoding: {other}"),
            (None, None) => Vec::new(),
        };
        Response { body, ..response }
    }

    /// Reads the head of a response, with its blank line.
    pub(crate) fn head(&mut self) -> String {
        String::from_utf8(self.up_to(b"\r\n\r\n")).unwrap()
    }

    /// Reads a whole chunked body, its last chunk included.
    pub(crate) fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk();
            if chunk.is_empty() {
                return body;
            }
            body.extend(chunk);
        }
    }

    /// Reads a whole chunked body, discards it, and returns its length.
    pub(crate) fn receive_chunks(&mut self) -> u64 {
        let mut length = 0;
        loop {
            let line = String::from_utf8(self.up_to(b"\r\n")).unwrap();
            let chunk =
                u64::from_str_radix(line.trim_end(), 16).unwrap_or_else(|_| panic!("no chunk: {line:?}"));
            self.skip(chunk);
            assert_eq!(self.take(2), b"\r\n");
            if chunk == 0 {
                return length;
            }
            length += chunk;
        }
    }

    /// Reads and discards this many bytes.
    fn skip(&mut self, mut length: u64) {
        while length > 0 {
            let here = self.buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            self.buffer.drain(..here);
            length -= here as u64;
            if length > 0 {
                assert!(self.fill().unwrap() > 0, "closed {length} bytes before the end of a chunk");
            }
        }
    }

    /// Reads one chunk; the last one is empty.
    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        let line = String::from_utf8(self.up_to(b"\r\n")).unwrap();
        let length =
            usize::from_str_radix(line.trim_end(), 16).unwrap_or_else(|_| panic!("no chunk: {line:?}"));
        let chunk = self.take(length);
        assert_eq!(self.take(2), b"\r\n");
        chunk
    }

    /// Reads this many bytes.
    pub(crate) fn take(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.fill().unwrap() > 0, "closed after {:?}", self.shown());
        }
        self.buffer.drain(..length).collect()
    }

    /// Reads up to the end of `mark`.
    pub(crate) fn up_to(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            if let Some(found) = self.buffer.windows(mark.len()).position(|window| window == mark) {
                return self.buffer.drain(..found + mark.len()).collect();
            }
            assert!(self.fill().unwrap() > 0, "closed after {:?}", self.shown());
        }
    }

    /// Waits for the first bytes of a response. Returns `false` if there are none.
    pub(crate) fn is_answered(&mut self) -> bool {
        !self.buffer.is_empty() || self.fill().is_ok_and(|read| read > 0)
    }

    /// Reads until the server closes, or resets, the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        loop {
            match self.fill() {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error} after {:?}", self.shown()),
            }
        }
        std::mem::take(&mut self.buffer)
    }

    /// Reads and discards bytes until there were `length` of them or the connection ended. Returns how many there
    /// were.
    pub(crate) fn drop_bytes(&mut self, length: u64) -> u64 {
        let mut seen = std::mem::take(&mut self.buffer).len() as u64;
        let mut piece = vec![0; 256 << 10];
        while seen < length {
            match self.stream.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => seen += read as u64,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error} after {seen} bytes"),
            }
        }
        seen
    }

    /// Reports whether nothing arrives for `time`: for events that must not happen, where nothing can be awaited.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        let start = Instant::now();
        self.stream.set_read_timeout(time);
        let outcome = self.fill();
        self.stream.set_read_timeout(PATIENCE);
        match outcome {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                start.elapsed() + Duration::from_millis(20) >= time
            }
            _ => false,
        }
    }

    pub(super) fn fill(&mut self) -> std::io::Result<usize> {
        let mut piece = [0; 64 << 10];
        let read = self.stream.read(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..read]);
        Ok(read)
    }

    pub(super) fn shown(&self) -> String {
        self.buffer[..self.buffer.len().min(1000)].escape_ascii().to_string()
    }
}

impl Response {
    /// Returns the status code.
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Returns the value of a field, named in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Returns the body, which must be UTF-8.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Returns the head without its date, the only part that changes with time.
    pub(crate) fn undated(&self) -> String {
        undated(&self.head)
    }
}

/// Removes the date from a head.
fn undated(head: &str) -> String {
    head.split_inclusive("\r\n").filter(|line| !line.starts_with("date: ")).collect()
}

impl Stream {
    fn set_read_timeout(&self, time: Duration) {
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(time)).unwrap(),
            Stream::Unix(stream) => stream.set_read_timeout(Some(time)).unwrap(),
            Stream::Tls(stream) => stream.sock.set_read_timeout(Some(time)).unwrap(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
