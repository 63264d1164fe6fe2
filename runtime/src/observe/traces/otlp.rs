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

/// The spans of a request that a collector has refused, though it has taken the request.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct RefusedSpans {
    pub(super) count: usize,
    pub(super) why: String,
}

/// What the SDK's exporter does not report of the last request.
#[derive(Default)]
struct LastOutcome {
    /// Why there was no response.
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
            Ok(()) => Ok(refused),
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
                Ok(response) => LastOutcome { failure: None, refused: refused(response.body()) },
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

/// The value of a field in protobuf.
enum ProtobufValue<'m> {
    Number(u64),
    Bytes(&'m [u8]),
}

/// Reads which spans a response refuses: `partial_success` of `ExportTraceServiceResponse` (opentelemetry-proto,
/// trace_service.proto). `None` if it refuses none, or is no such message.
fn refused(mut message: &[u8]) -> Option<RefusedSpans> {
    /// `ExportTraceServiceResponse.partial_success`.
    const PARTIAL_SUCCESS: u64 = 1;
    /// `ExportTracePartialSuccess.rejected_spans`.
    const REJECTED_SPANS: u64 = 1;
    /// `ExportTracePartialSuccess.error_message`.
    const ERROR_MESSAGE: u64 = 2;
    let mut refused = RefusedSpans { count: 0, why: String::new() };
    while let Some(outer) = field(&mut message) {
        let (PARTIAL_SUCCESS, ProtobufValue::Bytes(mut partial)) = outer else { continue };
        while let Some(inner) = field(&mut partial) {
            match inner {
                (REJECTED_SPANS, ProtobufValue::Number(count)) => {
                    refused.count = usize::try_from(count).unwrap_or(usize::MAX);
                }
                (ERROR_MESSAGE, ProtobufValue::Bytes(text)) => {
                    refused.why = String::from_utf8_lossy(text).into_owned();
                }
                _ => {}
            }
        }
    }
    (refused.count > 0).then_some(refused)
}

/// Takes the next field from a message: its number and its value. `None` at the end of the message, and where it is
/// broken.
fn field<'m>(message: &mut &'m [u8]) -> Option<(u64, ProtobufValue<'m>)> {
    let key = varint(message)?;
    let value = match key & 7 {
        0 => ProtobufValue::Number(varint(message)?),
        1 => ProtobufValue::Bytes(take(message, 8)?),
        2 => {
            let length = usize::try_from(varint(message)?).ok()?;
            ProtobufValue::Bytes(take(message, length)?)
        }
        5 => ProtobufValue::Bytes(take(message, 4)?),
        _ => return None,
    };
    Some((key >> 3, value))
}

/// Takes a number of variable length.
fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = *take(message, 1)?.first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take<'m>(message: &mut &'m [u8], length: usize) -> Option<&'m [u8]> {
    let (taken, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spans_that_a_response_refuses_are_read_with_the_reason() {
        // `partial_success { rejected_spans: 300, error_message: "full" }`, with a field that is not known.
        let message =
            [&[0x0a_u8, 14, 0x08, 0xac, 0x02, 0x12, 4][..], b"full", &[0x1d, 1, 2, 3, 4][..]].concat();
        let wanted = RefusedSpans { count: 300, why: "full".to_owned() };
        assert_eq!(refused(&message), Some(wanted));

        for none in [
            &[0_u8; 0][..],
            // `partial_success {}`, and one with a warning alone.
            &[0x0a, 0],
            &[0x0a, 3, 0x12, 1, b'x'],
            // Cut off, not protobuf, and a number without an end.
            &[0x0a, 9, 0x08],
            b"taken\n",
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(refused(none), None, "{none:?}");
        }
    }
}
