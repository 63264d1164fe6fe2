//! The outgoing side of `wasi:http`, carried out by an [`Outbound`].

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, IoError};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx,
    WasiHttpCtxView, WasiHttpHooks, WasiHttpView, p2,
};

use crate::job::outbound::{CallLimits, CallTimeouts, OutboundAccount, OutboundCall, OutboundError};
use crate::job::{Job, JobId, Outbound, Usage};

/// Maximum bytes of one set of fields that a component makes, as wasmtime counts them. wasmtime's default
/// is 128 KiB. Times the handles of a job, this bounds the host memory for fields.
const FIELDS: usize = 32 << 10;

/// Bytes of a body that a component may write at once. wasmtime's default is 1 MiB.
const CHUNK: usize = 16 << 10;

/// Chunks that are buffered: with [`CHUNK`], the default capacity of a pipe, pipe(7).
const CHUNKS: usize = 4;

/// A store's state for `wasi:http`.
pub(in crate::wasm) struct Http {
    context: WasiHttpCtx,
    hooks: Hooks,
}

/// Implements what wasmtime-wasi-http leaves to its embedder. Without a `RequestingJob`, every request is denied.
struct Hooks {
    asker: Option<RequestingJob>,
}

/// The job that sends requests.
struct RequestingJob {
    outbound: Arc<dyn Outbound>,
    job: JobId,
    usage: Arc<Usage>,
    limits: CallLimits,
    trail: Option<HeaderValue>,
    /// Opened by the first request: most jobs send none.
    account: Option<Arc<OutboundAccount>>,
}

/// The outcome of a transfer. The guest's is not awaited, and ours succeeds at once: bodies carry their errors.
type BodySent = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// Gives components `wasi:http/types` and `wasi:http/outgoing-handler`.
pub(in crate::wasm) fn link<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    p2::add_only_http_to_linker_async(linker)?;
    // wasmtime's `http-error-code` looks for another type than its bodies fail with. Guests would learn
    // that a response broke off, but never why.
    linker.allow_shadowing(true);
    let code = |store: StoreContextMut<'_, T>, (error,): (Resource<IoError>,)| Ok((code(store, &error)?,));
    linker.instance(super::interfaces::HTTP)?.func_wrap("http-error-code", code)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Finds the `wasi:http` error behind an error of a stream.
fn code<T: WasiHttpView + 'static>(
    mut store: StoreContextMut<'_, T>,
    error: &Resource<IoError>,
) -> Result<Option<ErrorCode>> {
    let error = store.data_mut().http().table.get(error)?;
    let own = error.downcast_ref::<ErrorCode>().cloned();
    Ok(own.or_else(|| match error.downcast_ref::<Error>()? {
        Error::ConnectionReadTimeout => Some(ErrorCode::ConnectionReadTimeout),
        Error::HttpResponseTimeout => Some(ErrorCode::HttpResponseTimeout),
        Error::HttpResponseBodySize(max) => Some(ErrorCode::HttpResponseBodySize(*max)),
        Error::HttpResponseIncomplete => Some(ErrorCode::HttpResponseIncomplete),
        Error::HttpProtocolError => Some(ErrorCode::HttpProtocolError),
        // Bodies fail with no other error: see `told`.
        _ => None,
    }))
}

impl Http {
    /// Makes the state for an instance that runs no job; every request is denied.
    pub(in crate::wasm) fn shut() -> Http {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(FIELDS);
        Http { context, hooks: Hooks { asker: None } }
    }

    /// Makes the state for a job; `outbound` carries out its requests.
    pub(in crate::wasm) fn of(job: &Job, outbound: &Arc<dyn Outbound>) -> Http {
        let asker = RequestingJob {
            outbound: outbound.clone(),
            job: job.id,
            usage: job.usage.clone(),
            limits: job.entry.limits.outbound,
            trail: job.trail.clone(),
            account: None,
        };
        Http { hooks: Hooks { asker: Some(asker) }, ..Http::shut() }
    }

    /// Reports whether no request is in progress.
    pub(in crate::wasm) fn is_quiet(&self) -> bool {
        let account = self.hooks.asker.as_ref().and_then(|asker| asker.account.as_ref());
        // A request that is being sent holds the account; a response that is being received holds a permit.
        let quiet = |account: &Arc<OutboundAccount>| {
            Arc::strong_count(account) == 1 && account.places.available_permits() == account.limits.at_once
        };
        account.is_none_or(quiet)
    }

    /// Lends the state to wasmtime-wasi-http.
    pub(super) fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiHttpCtxView<'a> {
        WasiHttpCtxView { hooks: &mut self.hooks, table, ctx: &mut self.context }
    }
}

impl WasiHttpHooks for Hooks {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_forbidden)
    }

    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        is_forbidden(name)
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _received: BodySent,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, BodySent), Error>> + Send> {
        let Some(asker) = &mut self.asker else {
            return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
        };
        let RequestingJob { outbound, job, usage, limits, trail, account } = asker;
        let open = || Arc::new(OutboundAccount::new(*job, usage.clone(), *limits, trail.clone()));
        let account = account.get_or_insert_with(open);
        let options = options.unwrap_or_default();
        let call = OutboundCall {
            request: request.map(|body| body.map_err(|_| OutboundError::Abandoned).boxed_unsync()),
            patience: CallTimeouts {
                connect: options.connect_timeout,
                first_byte: options.first_byte_timeout,
                between_bytes: options.between_bytes_timeout,
            },
        };
        let answer = outbound.clone().send(account.clone(), call);
        Box::new(async move {
            let response = answer.await.map_err(told)?;
            let response = response.map(|body| body.map_err(told).boxed_unsync());
            // The body owns the connection, so this future has nothing to do.
            Ok((response, Box::new(std::future::ready(Ok(()))) as BodySent))
        })
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        CHUNKS
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }
}

/// Reports whether a guest may not set a field. `cdn-loop` lists the servers that a request has passed;
/// only the daemon sets it, as a guest could hide a loop.
fn is_forbidden(name: &HeaderName) -> bool {
    DEFAULT_FORBIDDEN_HEADERS.contains(name) || name.as_str() == "cdn-loop"
}

/// Maps every failure of a request to the error for the guest.
fn told(error: OutboundError) -> Error {
    match error {
        OutboundError::Denied => Error::HttpRequestDenied,
        OutboundError::AddressDenied => Error::DestinationIpProhibited,
        OutboundError::BadUrl => Error::HttpRequestUriInvalid,
        OutboundError::BadMethod => Error::HttpRequestMethodInvalid,
        OutboundError::TooMany(_) | OutboundError::Crowded(_) | OutboundError::Exhausted => {
            Error::ConnectionLimitReached
        }
        OutboundError::NotFound(why) => Error::DnsError { rcode: Some(why), info_code: None },
        OutboundError::Refused => Error::ConnectionRefused,
        OutboundError::Unreachable(_) => Error::DestinationUnavailable,
        OutboundError::ConnectTimeout => Error::ConnectionTimeout,
        OutboundError::Certificate(_) => Error::TlsCertificateError,
        OutboundError::Tls(_) => Error::TlsProtocolError,
        OutboundError::FirstByteTimeout | OutboundError::BetweenBytesTimeout => Error::ConnectionReadTimeout,
        OutboundError::TimedOut => Error::HttpResponseTimeout,
        OutboundError::RequestTooLarge(max) => Error::HttpRequestBodySize(Some(max)),
        OutboundError::ResponseTooLarge(max) => Error::HttpResponseBodySize(Some(max)),
        OutboundError::Abandoned => Error::HttpProtocolError,
        OutboundError::HeadTooLarge => Error::HttpResponseHeaderSectionSize(None),
        OutboundError::Incomplete => Error::HttpResponseIncomplete,
        OutboundError::Protocol(_) => Error::HttpProtocolError,
        OutboundError::Ours(why) => Error::InternalError(Some(why)),
    }
}
