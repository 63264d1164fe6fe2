//! Requests of the daemon itself to servers that the configuration names.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::HOST;
use http::uri::{self, Authority, PathAndQuery};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::error::blame;
use super::pool::HEAD;
use super::strict_head::{self, StrictHeadIo};
use crate::net::outbound::{Dialer, Origin, Scheme, Trust};

/// Sends requests, each over a connection of its own: they are few, and far between.
pub struct DaemonClient {
    dialer: Dialer,
    limits: ExchangeLimits,
}

/// The limits of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeLimits {
    /// The largest body of a response, in bytes.
    pub size: usize,
    /// From the name lookup to the last byte.
    pub time: Duration,
}

impl DaemonClient {
    /// Makes a client that reaches every address.
    pub fn new(trust: Trust, limits: ExchangeLimits) -> DaemonClient {
        DaemonClient { dialer: Dialer::of_daemon(trust), limits }
    }

    /// Sends a request with an absolute URL, and reads the whole response. Redirects are not followed.
    ///
    /// # Errors
    /// Why there is no whole response within the limits, for the log.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let (origin, request) = addressed(request)?;
        let late = |_| Err(format!("no whole response within {:?}", self.limits.time));
        timeout(self.limits.time, self.exchange(&origin, request)).await.unwrap_or_else(late)
    }

    async fn exchange(&self, origin: &Origin, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let ExchangeLimits { size, time } = self.limits;
        let channel = self.dialer.dial(origin, time).await.map_err(|error| error.to_string())?;
        let (heads, due) = StrictHeadIo::of(channel);
        let mut builder = http1::Builder::new();
        builder.max_header_size(HEAD).max_buf_size(HEAD);
        let made = builder.handshake::<_, Full<Bytes>>(TokioIo::new(heads)).await;
        let (mut sender, connection) = made.map_err(|error| blame(&error).to_string())?;
        // An error of the connection is reported by the request or the body that fails with it. Dropped at the end.
        let mut driver = JoinSet::new();
        driver.spawn(connection.map(drop));
        due.now();
        let sent = sender.send_request(request.map(Full::new)).await;
        let response = sent.map_err(|error| blame(&error).to_string())?;
        strict_head::check(&response).map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, size).collect().await;
        let body = body.map_err(|error| format!("the body, of {size} bytes at most: {error}"))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

/// Takes the server out of the absolute URL of a request: its target is a path and a query (RFC 9112 §3.2.1).
///
/// # Errors
/// The URL names no server.
pub(in crate::http) fn addressed(mut request: Request<Bytes>) -> Result<(Origin, Request<Bytes>), String> {
    let url = std::mem::take(request.uri_mut()).into_parts();
    let scheme = if url.scheme == Some(uri::Scheme::HTTPS) { Scheme::Https } else { Scheme::Http };
    let authority = url.authority.as_ref().map(Authority::as_str).unwrap_or_default();
    let origin = Origin::new(scheme, authority).map_err(|advice| format!("{authority:?}: {advice}"))?;
    let host = HeaderValue::try_from(origin.authority()).map_err(|error| error.to_string())?;
    request.headers_mut().insert(HOST, host);
    *request.uri_mut() = url.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/")).into();
    Ok((origin, request))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use rustix::net::sockopt::{Timeout, set_socket_timeout};

    use super::*;

    /// The deadline of each wait.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Sends a request to a server that answers with this and waits. Returns the head of the request too.
    async fn sent(answer: &'static str, limits: ExchangeLimits) -> (Result<(u16, Bytes), String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys?x=1", listener.local_addr().unwrap());
        // socket(7): the receive timeout also bounds accept(2).
        set_socket_timeout(&listener, Timeout::Recv, Some(PATIENCE)).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut head = [0; 1024];
            let read = stream.read(&mut head).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            // Until the client leaves.
            let _left = stream.read(&mut [0; 1]);
            String::from_utf8_lossy(&head[..read]).into_owned()
        });
        let request = Request::get(url.as_str()).body(Bytes::new()).unwrap();
        let response = DaemonClient::new(Trust::system(), limits).send(request).await;
        let outcome = response.map(|response| (response.status().as_u16(), response.into_body()));
        let head = tokio::task::spawn_blocking(move || server.join().unwrap()).await.unwrap();
        (outcome, head)
    }

    #[test]
    fn a_request_goes_to_the_origin_of_its_url_with_its_path() {
        let request = Request::post("https://c.example:4318/v1/traces").body(Bytes::new()).unwrap();

        let (origin, request) = addressed(request).unwrap();

        assert_eq!(origin.to_string(), "https://c.example:4318");
        assert_eq!(request.uri().to_string(), "/v1/traces");
        assert_eq!(request.headers()[HOST], "c.example:4318");
    }

    #[tokio::test]
    async fn a_response_is_read_within_its_limits_or_not_at_all() {
        let limits = ExchangeLimits { size: 4, time: Duration::from_secs(30) };

        let (whole, head) = sent("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nkeys", limits).await;
        assert_eq!(whole, Ok((200, Bytes::from_static(b"keys"))));
        assert!(head.starts_with("GET /keys?x=1 HTTP/1.1\r\nhost: 127.0.0.1:"), "{head}");
        let moved = "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(sent(moved, limits).await.0, Ok((302, Bytes::new())), "not followed");
        for (answer, wanted) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlarge", "of 4 bytes at most"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nlarge\r\n0\r\n\r\n",
                "of 4 bytes at most",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok", ""),
            ("nonsense\r\n\r\n", ""),
        ] {
            let refused = sent(answer, limits).await.0.unwrap_err();
            assert!(refused.contains(wanted), "{answer}: {refused}");
        }
        let soon = ExchangeLimits { time: Duration::from_millis(300), ..limits };
        let late = sent("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nke", soon).await.0.unwrap_err();
        assert_eq!(late, "no whole response within 300ms");
    }
}
