//! The exporter of the SDK, which encodes spans, over a transport of ours.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;

use super::settings::TraceSettings;
use crate::observe::build;

/// Carries requests to the collector.
///
/// This is a trait because the HTTP client lies in a layer above.
pub trait SpanTransport: Send + Sync + 'static {
    /// Sends a request and reads the response. A body that cannot be read is left out. Dropping the future ends the exchange.
    ///
    /// # Errors
    /// There is no response; the text says why.
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, String>>;
}

/// Makes the exporter of the SDK, which encodes spans.
pub(super) fn client(
    settings: &TraceSettings,
    transport: Arc<dyn SpanTransport>,
    failure: Arc<Mutex<String>>,
) -> Result<SpanExporter, String> {
    let built = SpanExporter::builder()
        .with_http()
        .with_http_client(CollectorClient { transport, failure })
        .with_endpoint(settings.endpoint.clone())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(settings.timeout)
        // Its retries would block the thread.
        .with_retry_policy(RetryPolicy::disabled())
        .build();
    let mut client = built.map_err(|error| error.to_string())?;
    let mut resource = Resource::builder().with_attribute(KeyValue::new("service.version", build::VERSION));
    if !settings.has_service_name {
        resource = resource.with_service_name("portcullis");
    }
    client.set_resource(&resource.build());
    Ok(client)
}

/// Lets the exporter of the SDK send its requests by a transport.
struct CollectorClient {
    transport: Arc<dyn SpanTransport>,
    failure: Arc<Mutex<String>>,
}

impl HttpClient for CollectorClient {
    fn send_bytes<'life, 'future>(
        &'life self,
        request: Request<Bytes>,
    ) -> BoxFuture<'future, Result<Response<Bytes>, HttpError>>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            let outcome = self.transport.send(request).await;
            if let Err(why) = &outcome {
                self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone_from(why);
            }
            outcome.map_err(HttpError::from)
        })
    }
}

impl fmt::Debug for CollectorClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CollectorClient")
    }
}
