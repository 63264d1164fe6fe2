//! The HTTP client that instant-acme uses: the daemon's own.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{RETRY_AFTER, USER_AGENT};
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use crate::http::outbound::{DaemonClient, ExchangeLimits};
use crate::net::outbound::Trust;
use crate::observe::build_versions;

/// The limits of one exchange. A chain of certificates has a few KiB.
const LIMITS: ExchangeLimits = ExchangeLimits { size: 1 << 20, time: Duration::from_secs(30) };

/// The client of one configuration. Clones share one.
#[derive(Clone)]
pub(super) struct AcmeClient {
    client: Arc<DaemonClient>,
    /// How long the server asked to wait in the last refusal.
    asked: Arc<Mutex<Option<Duration>>>,
}

impl AcmeClient {
    /// Makes a client that trusts these authorities.
    pub(super) fn new(trust: Trust) -> AcmeClient {
        AcmeClient { client: Arc::new(DaemonClient::new(trust, LIMITS)), asked: Arc::default() }
    }

    /// Returns how long the server asked to wait in a refusal since the last call (RFC 8555 §6.6).
    pub(super) fn asked_to_wait(&self) -> Option<Duration> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, response: &Response<Bytes>) {
        if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let asked = response.headers().get(RETRY_AFTER).and_then(retry_after);
            *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        }
    }
}

impl HttpClient for AcmeClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let this = self.clone();
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            // RFC 8555 §6.1: the software, and the library below it.
            let library = head.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
            let agent = format!("portcullis/{} {}", build_versions::VERSION, library.unwrap_or_default());
            if let Ok(agent) = HeaderValue::try_from(agent) {
                head.headers.insert(USER_AGENT, agent);
            }
            let server = server(&head.uri)?;
            let sent = this.client.send(Request::from_parts(head, body)).await;
            let response = sent.map_err(|error| Error::Other(format!("{server}: {error}").into()))?;
            this.note(&response);
            Ok(BytesResponse::from(response.map(Full::new)))
        })
    }
}

/// Returns the host and port of a URL. The server names further URLs, and each must be one of TLS (RFC 8555 §6.1).
fn server(url: &Uri) -> Result<String, Error> {
    let authority = url.authority().filter(|_| url.scheme() == Some(&Scheme::HTTPS));
    let wanted = || Error::Other(format!("{url}: wanted https://HOST/...").into());
    authority.map(ToString::to_string).ok_or_else(wanted)
}

/// Reads the field: seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(field: &HeaderValue) -> Option<Duration> {
    let text = field.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_with_the_wait_that_it_asks_for_once() {
        let client = AcmeClient::new(Trust::system());
        let response = |status: u16| {
            let response = Response::builder().status(status).header(RETRY_AFTER, "7");
            response.body(Bytes::new()).unwrap()
        };

        client.note(&response(200));
        assert_eq!(client.asked_to_wait(), None);
        client.note(&response(429));
        assert_eq!(client.asked_to_wait(), Some(Duration::from_secs(7)));
        assert_eq!(client.asked_to_wait(), None);
    }

    #[test]
    fn a_server_is_reached_over_tls_alone() {
        let server = |url: &str| server(&url.parse().unwrap()).ok();

        assert_eq!(server("https://acme.example.org/directory").as_deref(), Some("acme.example.org"));
        assert_eq!(server("http://acme.example.org/directory"), None);
        assert_eq!(server("/directory"), None);
    }

    #[test]
    fn both_forms_of_a_wait_are_read() {
        let wait = |text: &str| retry_after(&HeaderValue::from_str(text).unwrap());
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3600));

        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert!(wait(&soon).is_some_and(|wait| wait > Duration::from_secs(3500)));
        assert_eq!(wait("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
    }
}
