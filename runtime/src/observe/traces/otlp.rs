//! The exporter of OpenTelemetry's SDK, which encodes spans and leaves their transport to us.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};

use super::collector_reply::{self, RefusedSpans};
use super::settings::TraceSettings;

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

/// Encodes spans and sends them.
pub(super) struct OtlpExporter {
    exporter: SpanExporter,
    outcome: Arc<Mutex<LastOutcome>>,
}

/// What the SDK's exporter does not report of the last request.
#[derive(Default)]
struct LastOutcome {
    /// Why there was no response of a collector.
    failure: Option<String>,
    refused: Option<RefusedSpans>,
}

impl OtlpExporter {
    /// Makes an exporter.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub(super) fn new(
        settings: &TraceSettings,
        transport: Arc<dyn SpanTransport>,
    ) -> Result<OtlpExporter, String> {
        let outcome = Arc::<Mutex<LastOutcome>>::default();
        let built = SpanExporter::builder()
            .with_http()
            .with_http_client(CollectorClient { transport, outcome: outcome.clone() })
            .with_endpoint(settings.endpoint.clone())
            // The exporter reads the variables itself, but an empty one hides the other one from it.
            .with_headers(settings.fields.0.clone())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(settings.timeout)
            // Its retries would block the thread.
            .with_retry_policy(RetryPolicy::disabled())
            .build();
        let mut exporter = built.map_err(|error| error.to_string())?;
        // The SDK's own detector of the environment decodes no value, and prefers the list to `OTEL_SERVICE_NAME`.
        let resource = Resource::builder_empty().with_detector(Box::new(TelemetryResourceDetector));
        let attributes = settings.resource.iter().cloned().map(|(name, value)| KeyValue::new(name, value));
        exporter.set_resource(&resource.with_attributes(attributes).build());
        Ok(OtlpExporter { exporter, outcome })
    }

    /// Sends spans in one request. Returns those that the collector has refused.
    ///
    /// # Errors
    /// The collector has not taken the request; the text says why.
    pub(super) async fn export(&self, spans: Vec<SpanData>) -> Result<Option<RefusedSpans>, String> {
        // A request that was cancelled may have left its outcome.
        drop(std::mem::take(&mut *lock(&self.outcome)));
        let exported = self.exporter.export(spans).await;
        let LastOutcome { failure, refused } = std::mem::take(&mut *lock(&self.outcome));
        match exported {
            // The SDK does not look at the body of a response with a status of success.
            Ok(()) => failure.map_or(Ok(refused), Err),
            // The SDK says no more than that the network has failed.
            Err(error) => Err(failure.unwrap_or_else(|| error.to_string())),
        }
    }
}

/// Lets the exporter of the SDK send its requests by a transport.
struct CollectorClient {
    transport: Arc<dyn SpanTransport>,
    outcome: Arc<Mutex<LastOutcome>>,
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
            let response = self.transport.send(request).await;
            *lock(&self.outcome) = match &response {
                Ok(response) if response.status().is_success() => match collector_reply::refused(response) {
                    Ok(refused) => LastOutcome { failure: None, refused },
                    Err(why) => LastOutcome { failure: Some(why), refused: None },
                },
                // The SDK reports the status.
                Ok(_) => LastOutcome::default(),
                Err(why) => LastOutcome { failure: Some(why.clone()), refused: None },
            };
            response.map_err(HttpError::from)
        })
    }
}

impl fmt::Debug for CollectorClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CollectorClient")
    }
}

fn lock(outcome: &Mutex<LastOutcome>) -> MutexGuard<'_, LastOutcome> {
    // The outcome is consistent after every statement.
    outcome.lock().unwrap_or_else(PoisonError::into_inner)
}
