//! Fetches a document for the daemon itself, such as a set of keys that a gate names.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{ACCEPT, HOST};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::error::blame;
use super::pool::HEAD;
use super::strict::{self, StrictHeadIo};
use crate::net::outbound::{Channel, Dialer, Origin, Scheme};

/// The limits of one fetch.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    /// The largest body, in bytes.
    pub size: usize,
    /// From the name lookup to the last byte.
    pub time: Duration,
}

/// Fetches a URL over a connection of its own. Redirects are not followed.
///
/// # Errors
/// Why there is no response with status 200 within the limits, for the log.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn fetch(dialer: &Dialer, url: &str, limits: FetchLimits) -> Result<Bytes, String> {
    let url = url.parse::<Uri>().map_err(|error| error.to_string())?;
    let scheme = if url.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http };
    let authority = url.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let origin = Origin::new(scheme, authority).map_err(|advice| advice.to_string())?;
    let whole = async {
        let channel = dialer.dial(&origin, limits.time).await.map_err(|error| error.to_string())?;
        exchange(channel, &origin, &url, limits.size).await
    };
    let late = |_| Err(format!("no whole response within {:?}", limits.time));
    timeout(limits.time, whole).await.unwrap_or_else(late)
}

async fn exchange(channel: Channel, origin: &Origin, url: &Uri, most: usize) -> Result<Bytes, String> {
    let (heads, due) = StrictHeadIo::of(channel);
    let mut builder = http1::Builder::new();
    builder.max_header_size(HEAD).max_buf_size(HEAD);
    let made = builder.handshake::<_, Empty<Bytes>>(TokioIo::new(heads)).await;
    let (mut sender, connection) = made.map_err(|error| blame(&error).to_string())?;
    // An error of the connection is reported by the request or the body that fails with it. Dropped at the end.
    let mut driver = JoinSet::new();
    driver.spawn(connection.map(drop));
    let target = url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let request = Request::get(target)
        .header(HOST, origin.authority())
        .header(ACCEPT, "application/json")
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    due.now();
    let response = sender.send_request(request).await.map_err(|error| blame(&error).to_string())?;
    strict::check(&response).map_err(|error| error.to_string())?;
    if response.status() != StatusCode::OK {
        return Err(format!("the response has status {}", response.status().as_u16()));
    }
    let body = Limited::new(response.into_body(), most).collect().await;
    body.map(|body| body.to_bytes()).map_err(|error| format!("the body, of {most} bytes at most: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::thread;

    use super::*;
    use crate::net::outbound::{System, Trust};

    /// Fetches from a server that answers with this and waits. Returns the head of the request too.
    async fn fetched(answer: &'static str, limits: FetchLimits) -> (Result<Bytes, String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys?x=1", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 1024];
            let read = stream.read(&mut head).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            // Until the client leaves.
            let _left = stream.read(&mut [0; 1]);
            String::from_utf8_lossy(&head[..read]).into_owned()
        });
        let addresses = vec!["127.0.0.1".parse().unwrap()];
        let dialer = Dialer { resolver: Arc::new(System::default()), addresses, trust: Trust::system() };
        let fetched = fetch(&dialer, &url, limits).await;
        let head = tokio::task::spawn_blocking(move || server.join().unwrap()).await.unwrap();
        (fetched, head)
    }

    #[tokio::test]
    async fn a_document_is_fetched_within_its_limits_or_not_at_all() {
        let limits = FetchLimits { size: 4, time: Duration::from_secs(30) };

        let (whole, head) = fetched("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nkeys", limits).await;
        assert_eq!(whole, Ok(Bytes::from_static(b"keys")));
        assert!(head.starts_with("GET /keys?x=1 HTTP/1.1\r\nhost: 127.0.0.1:"), "{head}");
        for (answer, wanted) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlarge", "of 4 bytes at most"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nlarge\r\n0\r\n\r\n",
                "of 4 bytes at most",
            ),
            ("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", "status 302"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok", ""),
            ("nonsense\r\n\r\n", ""),
        ] {
            let refused = fetched(answer, limits).await.0.unwrap_err();
            assert!(refused.contains(wanted), "{answer}: {refused}");
        }
        let soon = FetchLimits { time: Duration::from_millis(300), ..limits };
        let late = fetched("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nke", soon).await.0.unwrap_err();
        assert_eq!(late, "no whole response within 300ms");
    }
}
