//! The connection to the collector of traces, which takes spans as OTLP over HTTP.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Duration, timeout};

use super::outbound::addressed;
use super::timeouts::COLLECTOR_BODY;
use crate::net::outbound::{Dialer, Origin, Trust};
use crate::observe::traces::{SpanTransport, TraceSettings};

/// The largest response of a collector, in bytes. It says how many spans were refused, and why.
const RESPONSE: usize = 64 << 10;

/// Sends requests to the collector, one after another over the same connection.
pub struct Collector(Arc<CollectorLink>);

struct CollectorLink {
    dialer: Dialer,
    timeout: Duration,
    /// The connection, while no request is under way.
    idle: Mutex<Option<OpenLink>>,
}

/// An open connection. Dropping it closes it.
struct OpenLink {
    sender: SendRequest<Full<Bytes>>,
    _connection: JoinSet<()>,
}

impl Collector {
    /// Prepares to connect to the collector of these settings. Does not connect yet.
    ///
    /// # Errors
    /// The added certificates cannot be used.
    pub fn of(settings: &TraceSettings) -> Result<Arc<dyn SpanTransport>, String> {
        let trust = Trust::with(settings.ca.as_deref()).map_err(|error| format!("outbound.ca: {error:#}"))?;
        let link = CollectorLink {
            dialer: Dialer::of_daemon(trust),
            timeout: settings.timeout,
            idle: Mutex::default(),
        };
        Ok(Arc::new(Collector(Arc::new(link))))
    }
}

impl SpanTransport for Collector {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, String>> {
        let link = self.0.clone();
        Box::pin(async move { link.send(request).await })
    }
}

impl CollectorLink {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let (origin, request) = addressed(request)?;
        let mut idle = self.idle.lock().await;
        if let Some(mut link) = idle.take()
            && link.sender.ready().await.is_ok()
            // A server may close an idle connection at any time. Spans that arrive twice have the same ids.
            && let Ok((response, link)) = link.exchange(request.clone()).await
        {
            *idle = link;
            return Ok(response);
        }
        let (response, link) = self.open(&origin).await?.exchange(request).await?;
        *idle = link;
        Ok(response)
    }

    async fn open(&self, origin: &Origin) -> Result<OpenLink, String> {
        let channel = self.dialer.dial(origin, self.timeout).await.map_err(|error| error.to_string())?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(channel)).await.map_err(|error| error.to_string())?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            // A failure is that of the exchange as well.
            let _closed = connection.await;
        });
        Ok(OpenLink { sender, _connection: task })
    }
}

impl OpenLink {
    /// Sends a request. Returns the response, and the connection if another request can follow. A body that is broken off,
    /// too long or late is left out: then the status alone says whether the spans were taken. The request is not sent again.
    async fn exchange(
        mut self,
        request: Request<Bytes>,
    ) -> Result<(Response<Bytes>, Option<OpenLink>), String> {
        let sent = self.sender.send_request(request.map(Full::new)).await;
        let (head, body) = sent.map_err(|error| error.to_string())?.into_parts();
        match timeout(COLLECTOR_BODY, Limited::new(body, RESPONSE).collect()).await {
            Ok(Ok(body)) => Ok((Response::from_parts(head, body.to_bytes()), Some(self))),
            Ok(Err(_)) | Err(_) => Ok((Response::from_parts(head, Bytes::new()), None)),
        }
    }
}
