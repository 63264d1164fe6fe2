//! Requests of the daemon itself to a server that the configuration names, over TLS alone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::net::outbound::{Block, Dialer, Origin, Scheme, System, Trust};

/// The time for a whole exchange, from the name lookup to the last byte.
const EXCHANGE: Duration = Duration::from_secs(30);

/// The time to connect, within [`EXCHANGE`].
const CONNECT: Duration = Duration::from_secs(10);

/// The largest response body, in bytes.
const BODY: usize = 1 << 20;

/// The largest head of a response, in bytes.
const HEAD: usize = 32 << 10;

/// Sends requests, each over a connection of its own: they are few, and far between.
pub struct HttpsClient {
    dialer: Dialer,
}

/// Why there is no whole response.
#[derive(Debug)]
pub struct ExchangeError(String);

impl HttpsClient {
    /// Makes a client that reaches every address: its URLs come from the operator, and from servers that the operator
    /// trusts.
    pub fn new(trust: Trust) -> HttpsClient {
        let addresses = Block::everything().to_vec();
        HttpsClient { dialer: Dialer { resolver: Arc::new(System::default()), addresses, trust } }
    }

    /// Sends a request with an absolute URL, and reads the whole response. Redirects are not followed.
    ///
    /// # Errors
    /// The URL does not begin with `https://`, the server cannot be reached or is not trusted, the response is too large,
    /// or the exchange takes more than 30 s.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ExchangeError> {
        let origin = origin(request.uri())?;
        match timeout(EXCHANGE, self.exchange(&origin, request)).await {
            Ok(outcome) => outcome.map_err(|error| ExchangeError(format!("{origin}: {error}"))),
            Err(_) => Err(ExchangeError(format!("{origin}: no whole response within {EXCHANGE:?}"))),
        }
    }

    async fn exchange(
        &self,
        origin: &Origin,
        mut request: Request<Bytes>,
    ) -> Result<Response<Bytes>, ExchangeError> {
        let channel = match timeout(CONNECT, self.dialer.dial(origin, CONNECT)).await {
            Ok(dialled) => dialled.map_err(failed)?,
            Err(_) => return Err(ExchangeError(format!("no connection within {CONNECT:?}"))),
        };
        // RFC 9112 §3.2.1: the target for a server is a path and a query.
        let target = request.uri().path_and_query().cloned();
        *request.uri_mut() = target.unwrap_or_else(|| PathAndQuery::from_static("/")).into();
        request.headers_mut().insert(HOST, HeaderValue::try_from(origin.authority()).map_err(failed)?);
        let mut builder = http1::Builder::new();
        builder.max_header_size(HEAD).max_buf_size(HEAD);
        let (mut sender, connection) = builder.handshake(TokioIo::new(channel)).await.map_err(failed)?;
        let exchange = async {
            let response = sender.send_request(request.map(Full::new)).await.map_err(failed)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, BODY).collect().await.map_err(failed)?;
            Ok::<_, ExchangeError>(Response::from_parts(head, body.to_bytes()))
        };
        let mut exchange = std::pin::pin!(exchange);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            response = &mut exchange => response,
            // The connection may end with the last byte, before the response is taken.
            ended = &mut connection => match exchange.await {
                Ok(response) => Ok(response),
                Err(error) => Err(ended.err().map_or(error, failed)),
            },
        }
    }
}

/// Reads the server of a URL.
fn origin(url: &Uri) -> Result<Origin, ExchangeError> {
    let authority = url.authority().filter(|_| url.scheme() == Some(&http::uri::Scheme::HTTPS));
    let authority = authority.ok_or_else(|| ExchangeError(format!("{url}: wanted https://HOST/...")))?;
    Origin::new(Scheme::Https, authority.as_str()).map_err(|error| ExchangeError(format!("{url}: {error}")))
}

fn failed(error: impl fmt::Display) -> ExchangeError {
    ExchangeError(error.to_string())
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ExchangeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_reached_over_tls_alone() {
        let refused = |url: &str| origin(&url.parse().unwrap()).err().map(|error| error.to_string());

        assert_eq!(refused("https://acme.example.org/directory"), None);
        for url in ["http://acme.example.org/directory", "/directory", "https://a@acme.example.org/"] {
            assert!(refused(url).is_some(), "{url}");
        }
    }
}
