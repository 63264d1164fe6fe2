//! Tests of undocumented behaviour of hyper, h2 and tungstenite that `http` relies on.
//!
//! If a new version behaves differently, a test fails here. Each test says which files rely on the behaviour.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::poll;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf, duplex};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket, WebSocketConfig};

/// The deadline of each test.
const TEST_DEADLINE: Duration = Duration::from_secs(60);

/// Notes what a library did, in order.
#[derive(Clone, Default)]
struct SeenCalls(Arc<Mutex<Vec<&'static str>>>);

impl SeenCalls {
    fn note(&self, call: &'static str) {
        self.0.lock().unwrap().push(call);
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// A connection whose only read returns the given bytes. It accepts every write, and notes both.
struct LoggedStream {
    input: Option<&'static [u8]>,
    calls: SeenCalls,
}

impl AsyncRead for LoggedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.calls.note("read");
        self.input.take().map_or(Poll::Pending, |bytes| {
            to.put_slice(bytes);
            Poll::Ready(Ok(()))
        })
    }
}

impl AsyncWrite for LoggedStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.calls.note("write");
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// `wire::guarded_io` counts requests as hyper reads them. It and `wire::deadline_io` wake hyper after a response.
#[tokio::test]
async fn hyper_reads_on_once_it_has_a_request_and_not_behind_the_response() {
    let (calls, (respond, response)) = (SeenCalls::default(), oneshot::channel::<()>());
    let response = Mutex::new(Some(response));
    let stream = LoggedStream { input: Some(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), calls: calls.clone() };
    let service = service_fn(|_| {
        calls.note("service");
        let response = response.lock().unwrap().take().unwrap();
        async move {
            response.await.unwrap();
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut builder = http1::Builder::new();
    let mut connection =
        pin!(builder.header_read_timeout(None).serve_connection(TokioIo::new(stream), service));

    assert!(poll!(connection.as_mut()).is_pending());
    assert_eq!(calls.take(), ["read", "service", "read"]);

    respond.send(()).unwrap();
    assert!(poll!(connection.as_mut()).is_pending());
    // Before it writes, hyper checks once more for the end of the client's stream.
    assert_eq!(calls.take(), ["read", "write"]);
}

/// `server::h1` leaves hyper's own limit of fields in force if it is the configured one.
#[tokio::test]
async fn hyper_takes_a_head_of_a_hundred_fields_and_refuses_one_more() {
    let status = async |fields: usize| {
        let (mut client, server) = duplex(1 << 16);
        let service = service_fn(|_| ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))));
        let mut builder = http1::Builder::new();
        builder.keep_alive(false).header_read_timeout(None);
        tokio::spawn(builder.serve_connection(TokioIo::new(server), service));
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(fields - 1));
        client.write_all(head.as_bytes()).await.unwrap();
        let mut response = String::new();
        timeout(TEST_DEADLINE, client.read_to_string(&mut response)).await.unwrap().unwrap();
        response.split(' ').nth(1).map(str::to_owned)
    };

    assert_eq!(status(100).await.as_deref(), Some("200"));
    assert_eq!(status(101).await.as_deref(), Some("431"));
}

/// Runs the futures that hyper passes to it, and notes each.
#[derive(Clone)]
struct NotingExecutor(SeenCalls);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for NotingExecutor {
    fn execute(&self, future: F) {
        self.0.note("execute");
        tokio::spawn(future);
    }
}

/// `server::h2` assigns the request taken last to the future that hyper executes next.
#[tokio::test]
async fn hyper_executes_the_future_of_a_request_right_behind_the_service_and_nothing_else() {
    let (calls, (client, server)) = (SeenCalls::default(), duplex(1 << 16));
    let taken = calls.clone();
    let service = service_fn(move |_| {
        taken.note("service");
        ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    });
    tokio::spawn(
        http2::Builder::new(NotingExecutor(calls.clone())).serve_connection(TokioIo::new(server), service),
    );
    let connect = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client));
    let (sender, connection) = timeout(TEST_DEADLINE, connect).await.unwrap().unwrap();
    tokio::spawn(connection);

    let asked = [(); 3].map(|()| {
        let request = Request::get("http://a/").body(Empty::<Bytes>::new()).unwrap();
        sender.clone().send_request(request)
    });
    timeout(TEST_DEADLINE, futures_util::future::try_join_all(asked)).await.unwrap().unwrap();

    assert_eq!(calls.take(), ["service", "execute"].repeat(3));
}

/// Makes a frame with a short payload (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[0, length[0], length[1], kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Makes the frame of a GET with this many fields of 50 bytes, by RFC 9113 §6.5.2.
fn get(stream: u8, fields: usize) -> Vec<u8> {
    // RFC 7541 §6.1, §6.2.2: fields of the static table, and literals that are not indexed.
    let field = [&[0, 1, b'x', 17][..], &[b'y'; 17]].concat();
    let block = [&[0x82, 0x84, 0x86, 0x01, 1, b'a'][..], &field.repeat(fields)].concat();
    frame(1, 5, stream, &block)
}

/// `wire::h2::sent` tells h2's own responses from ours by the bytes of the head.
#[tokio::test]
async fn h2_refuses_a_head_that_is_too_large_with_a_status_and_no_other_field() {
    let (mut client, server) = duplex(1 << 16);
    let service = service_fn(|_| ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    tokio::spawn(builder.max_header_list_size(1000).serve_connection(TokioIo::new(server), service));
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
    client.write_all(&[preface, get(1, 30), get(3, 30), get(5, 0)].concat()).await.unwrap();

    let heads = async {
        let mut heads = Vec::new();
        while heads.len() < 3 {
            let mut head = [0; 9];
            client.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
            client.read_exact(&mut payload).await.unwrap();
            heads.extend((head[3] == 1).then_some((head[8], payload)));
        }
        heads.sort();
        heads
    };
    let heads = timeout(TEST_DEADLINE, heads).await.unwrap();

    let [(1, first), (3, second), (5, ours)] = &heads[..] else { panic!("{heads:?}") };
    // A literal with indexing, named like the eighth entry of the static table; then that new entry.
    assert!(first[0] == 0x48 && first.len() == 2 + usize::from(first[1] & 0x7f), "{first:?}");
    assert!(second.len() == 1 && second[0] > 0x80 | 61, "{second:?}");
    // hyper adds a date.
    assert!(ours.len() > 2 && ours[0] != 0x48, "{ours:?}");
}

/// A stream that returns these bytes of a client, then an error.
struct FailingStream(&'static [u8]);

/// The error of `FailingStream`.
#[derive(Debug)]
struct FailingStreamError;

impl std::fmt::Display for FailingStreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("mine")
    }
}

impl std::error::Error for FailingStreamError {}

impl io::Read for FailingStream {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            Err(io::Error::other(FailingStreamError))
        } else {
            io::Read::read(&mut self.0, to)
        }
    }
}

impl io::Write for FailingStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `upgrade::websocket::close` derives the close code from these errors.
#[test]
fn tungstenite_tells_what_a_client_did_by_its_error_and_hands_on_that_of_the_stream() {
    let config = WebSocketConfig::default().max_message_size(Some(4)).max_frame_size(Some(4));
    let read = |bytes| WebSocket::from_raw_socket(FailingStream(bytes), Role::Server, Some(config)).read();

    // RFC 6455 §5.2: the masks are zeros.
    let large = read(b"\x81\x85\0\0\0\0abcde");
    assert!(matches!(large, Err(Error::Capacity(CapacityError::MessageTooLong { .. }))), "{large:?}");
    let binary = read(b"\x81\x81\0\0\0\0\xff");
    assert!(matches!(binary, Err(Error::Utf8(_))), "{binary:?}");
    let bare = read(b"\x81\x01a");
    assert!(matches!(bare, Err(Error::Protocol(ProtocolError::UnmaskedFrameFromClient))), "{bare:?}");
    let broken = read(b"");
    assert!(
        matches!(&broken, Err(Error::Io(error)) if error.get_ref().unwrap().is::<FailingStreamError>()),
        "{broken:?}"
    );
}

/// `upgrade::websocket::flood` counts fragments by their bytes, because no message tells of them.
#[test]
fn tungstenite_reads_on_behind_a_fragment_and_tells_nothing_of_it() {
    // RFC 6455 §5.4: an empty first fragment, and two empty ones behind it.
    let fragments = FailingStream(b"\x01\x80\0\0\0\0\0\x80\0\0\0\0\0\x80\0\0\0\0");
    let read = WebSocket::from_raw_socket(fragments, Role::Server, None).read();

    let is_behind_them = |error: &io::Error| error.get_ref().unwrap().is::<FailingStreamError>();
    assert!(matches!(&read, Err(Error::Io(error)) if is_behind_them(error)), "{read:?}");
}
