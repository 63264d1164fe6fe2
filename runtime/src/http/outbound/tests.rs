//! Calls over real sockets: what a server receives, and what closing or resetting its connection does.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::caller::{Grant, OutboundCaller};
use crate::budget::Budget;
use crate::job::outbound::{
    CallBody, CallLimits, CallTimeouts, OutboundAccount, OutboundCall, OutboundError,
};
use crate::job::{JobId, Outbound as _};
use crate::net::outbound::{System, Trust};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Starts a server with the given code, and a caller that may call it.
fn served<T: Send + 'static>(
    serve: impl FnOnce(&TcpListener) -> T + Send + 'static,
) -> (Arc<OutboundCaller>, String, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let grant = Grant {
        name: "one".parse().unwrap(),
        allow: vec![url.parse().unwrap()],
        addresses: vec!["127.0.0.1".parse().unwrap()],
        trust: Trust::system(),
        descriptors: Budget::boundless().nothing(&Arc::default()),
    };
    (
        Arc::new(OutboundCaller::new(grant, Arc::new(System::default()), None)),
        url,
        thread::spawn(move || serve(&listener)),
    )
}

/// Makes a call and reads the response body.
async fn ask(caller: &Arc<OutboundCaller>, request: Request<CallBody>) -> Result<Bytes, OutboundError> {
    let account = Arc::new(OutboundAccount::new(JobId(1), Arc::default(), CallLimits::DEFAULT, None));
    ask_for(account, caller, request).await
}

async fn ask_for(
    account: Arc<OutboundAccount>,
    caller: &Arc<OutboundCaller>,
    request: Request<CallBody>,
) -> Result<Bytes, OutboundError> {
    let answer =
        caller.clone().send(account, OutboundCall { request, patience: CallTimeouts::default() }).await?;
    Ok(answer.into_body().collect().await?.to_bytes())
}

fn empty() -> CallBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Accepts a connection, and bounds each read from it.
fn accepted(listener: &TcpListener) -> TcpStream {
    // socket(7): the receive timeout also bounds accept(2).
    set_socket_timeout(listener, Timeout::Recv, Some(Duration::from_secs(60))).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// Reads from a connection up to and including a mark.
fn up_to(stream: &mut TcpStream, mark: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.ends_with(mark) {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap() == 0 {
            break;
        }
        read.push(byte[0]);
    }
    read
}

#[tokio::test]
async fn trailers_that_a_request_announces_arrive() {
    let (caller, url, server) = served(|listener| {
        let mut stream = accepted(listener);
        let head = up_to(&mut stream, b"\r\n\r\n");
        let rest = up_to(&mut stream, b"\r\n\r\n");
        stream.write_all(OK).unwrap();
        (String::from_utf8(head).unwrap(), String::from_utf8(rest).unwrap())
    });
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "abc123".parse().unwrap());
    trailers.insert("x-other", "unannounced".parse().unwrap());
    let frames = [Ok(Frame::data(Bytes::from_static(b"ping"))), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(stream::iter(frames)).boxed_unsync();
    let request = Request::post(url).header("Trailer", "x-checksum, x-parts").body(body).unwrap();

    assert_eq!(ask(&caller, request).await.unwrap(), "ok");

    let (head, rest) = server.join().unwrap();
    assert!(head.contains("trailer: x-checksum, x-parts\r\n"), "{head}");
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    assert_eq!(rest, "4\r\nping\r\n0\r\nx-checksum: abc123\r\n\r\n");
}

#[tokio::test]
async fn a_target_starts_with_a_slash_and_keeps_its_query() {
    for (target, sent) in [("", "/"), ("?q=1", "/?q=1"), ("/a%2Fb?b=2&a=1&a=", "/a%2Fb?b=2&a=1&a=")] {
        let (caller, url, server) = served(|listener| {
            let mut stream = accepted(listener);
            let head = up_to(&mut stream, b"\r\n\r\n");
            stream.write_all(OK).unwrap();
            String::from_utf8(head).unwrap()
        });
        let request = Request::get(format!("{url}{target}")).body(empty()).unwrap();

        assert_eq!(ask(&caller, request).await.unwrap(), "ok");

        let head = server.join().unwrap();
        assert!(head.starts_with(&format!("GET {sent} HTTP/1.1\r\n")), "{head}");
    }
}

/// Answers a request, then resets the connection when the next one comes. Closing a socket with unread
/// bytes resets it.
fn resetting(listener: &TcpListener) -> TcpListener {
    let mut stream = accepted(listener);
    up_to(&mut stream, b"\r\n\r\n");
    stream.write_all(OK).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    listener.try_clone().unwrap()
}

#[tokio::test]
async fn a_call_over_a_connection_that_its_server_resets_is_made_once_more() {
    let (caller, url, server) = served(|listener| {
        let mut stream = accepted(&resetting(listener));
        up_to(&mut stream, b"\r\n\r\n");
        stream.write_all(OK).unwrap();
    });
    let get = || Request::get(&url).body(empty()).unwrap();

    assert_eq!(ask(&caller, get()).await.unwrap(), "ok");
    assert_eq!(ask(&caller, get()).await.unwrap(), "ok");

    server.join().unwrap();
}

#[tokio::test]
async fn a_call_that_cannot_be_made_twice_breaks_off_with_a_connection_that_is_reset() {
    let (caller, url, server) = served(resetting);

    assert_eq!(ask(&caller, Request::get(&url).body(empty()).unwrap()).await.unwrap(), "ok");
    let refused = ask(&caller, Request::post(&url).body(empty()).unwrap()).await;

    assert_eq!(refused.unwrap_err(), OutboundError::Incomplete);
    let listener = server.join().unwrap();
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody else has come");
}

#[tokio::test]
async fn a_job_pays_for_what_its_connection_computes_and_for_no_other() {
    const BODY: usize = 8 << 20;
    let (caller, url, server) = served(|listener| {
        let mut stream = accepted(listener);
        for body in [BODY, 2] {
            up_to(&mut stream, b"\r\n\r\n");
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {body}\r\n\r\n").unwrap();
            stream.write_all(&vec![b'x'; body]).unwrap();
        }
    });
    let get = || Request::get(&url).body(empty()).unwrap();
    let account = || Arc::new(OutboundAccount::new(JobId(1), Arc::default(), CallLimits::DEFAULT, None));
    let (large, small) = (account(), account());

    assert_eq!(ask_for(large.clone(), &caller, get()).await.unwrap().len(), BODY);
    assert_eq!(ask_for(small.clone(), &caller, get()).await.unwrap().len(), 2);

    let (large, small) = (large.usage.cpu(), small.usage.cpu());
    // 8 MiB are hundreds of reads.
    assert!(large > Duration::from_micros(500) && large > small, "{large:?} {small:?}");
    server.join().unwrap();
}
