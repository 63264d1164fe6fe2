//! A server for outbound requests; it counts connections and records request heads.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::PATIENCE;

/// A server on a loopback address. It ends with the test process.
pub(crate) struct Origin {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    closed: AtomicUsize,
    heads: Mutex<Vec<String>>,
}

/// Writes the reply to a request whose head was read.
pub(crate) type Reply = dyn Fn(&str, &mut dyn ReadWrite) + Send + Sync;

/// A connection, in clear or over TLS.
pub(crate) trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// Turns an accepted connection into the stream to speak over.
type Wrap = dyn Fn(TcpStream) -> Option<Box<dyn ReadWrite>> + Send + Sync;

impl Origin {
    /// Listens on a free port of this address and answers every request with `response`.
    pub(crate) fn says(address: &str, response: &str) -> Origin {
        let response = response.to_owned();
        Origin::of(address, move |_, stream| {
            // The client may have left.
            let _told = stream.write_all(response.as_bytes());
        })
    }

    /// Answers every request with this text.
    pub(crate) fn text(address: &str, text: &str) -> Origin {
        Origin::says(address, &ok(text))
    }

    /// Calls `reply` for every request.
    pub(crate) fn of(
        address: &str,
        reply: impl Fn(&str, &mut dyn ReadWrite) + Send + Sync + 'static,
    ) -> Origin {
        Origin::over(address, |stream| Some(Box::new(stream)), reply)
    }

    /// Answers every request over TLS with this text.
    pub(crate) fn tls(address: &str, config: rustls::ServerConfig, text: &str) -> Origin {
        let (config, response) = (Arc::new(config), ok(text));
        let wrap = move |stream: TcpStream| -> Option<Box<dyn ReadWrite>> {
            let connection = rustls::ServerConnection::new(config.clone()).ok()?;
            Some(Box::new(rustls::StreamOwned::new(connection, stream)))
        };
        Origin::over(address, wrap, move |_, stream| {
            let _told = stream.write_all(response.as_bytes());
        })
    }

    fn over(
        address: &str,
        wrap: impl Fn(TcpStream) -> Option<Box<dyn ReadWrite>> + Send + Sync + 'static,
        reply: impl Fn(&str, &mut dyn ReadWrite) + Send + Sync + 'static,
    ) -> Origin {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let origin = Origin { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let (seen, wrap, reply): (_, Arc<Wrap>, Arc<Reply>) =
            (origin.seen.clone(), Arc::new(wrap), Arc::new(reply));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                seen.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, wrap, reply) = (seen.clone(), wrap.clone(), reply.clone());
                thread::spawn(move || {
                    serve(stream, &seen, &*wrap, &*reply);
                    seen.closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        origin
    }

    /// Returns its port.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns the number of connections so far.
    pub(crate) fn hits(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Returns the number of connections that it has closed.
    pub(crate) fn closed(&self) -> usize {
        self.seen.closed.load(Ordering::SeqCst)
    }

    /// Returns the heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, seen: &Seen, wrap: &Wrap, reply: &Reply) {
    let _deadline = stream.set_read_timeout(Some(PATIENCE));
    let Some(mut stream) = wrap(stream) else { return };
    // A TLS client that rejects the certificate disconnects here.
    let Some(head) = read_head(&mut *stream) else { return };
    seen.heads.lock().unwrap().push(head.clone());
    reply(&head, &mut *stream);
    let _flushed = stream.flush();
}

/// Reads the head of a request. `None` if the client leaves before its end, or sends what is none, such as TLS.
pub(crate) fn read_head(stream: &mut (impl Read + ?Sized)) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        if byte[0].is_ascii_control() && !b"\r\n\t".contains(&byte[0]) {
            return None;
        }
        head.extend(byte);
    }
    String::from_utf8(head).ok()
}

/// Reads what follows the head of a request, with its framing. `None` if the client leaves before its end.
pub(crate) fn read_body(head: &str, stream: &mut (impl Read + ?Sized)) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        body.resize(length.parse().unwrap(), 0);
        stream.read_exact(&mut body).ok()?;
    }
    while head.contains("\r\ntransfer-encoding: chunked\r\n") && !body.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        body.extend(byte);
    }
    Some(body)
}

/// Makes a 200 response with this text.
pub(crate) fn ok(text: &str) -> String {
    let length = text.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )
}
