//! What a component asks of other servers: the outgoing side of `wasi:http`, over the seam of [`Outbound`].

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

use crate::job::outbound::{Account, Call, CallError, CallLimits, Patience};
use crate::job::{Job, JobId, Outbound, Usage};

/// Bytes of one set of fields that a component makes, as wasmtime counts them. Its default is 128 KiB;
/// with the handles a job may hold, this bounds what they take of the host.
const FIELDS: usize = 32 << 10;

/// Bytes that a component may hand over at once of a body it writes. wasmtime's default is 1 MiB.
const CHUNK: usize = 16 << 10;

/// Chunks that wait to be read: with [`CHUNK`], the default capacity of a pipe, pipe(7).
const CHUNKS: usize = 4;

/// What a store holds for `wasi:http`.
pub(in crate::wasm) struct Http {
    context: WasiHttpCtx,
    hooks: Hooks,
}

/// Answers what wasmtime-wasi-http leaves to its embedder.
struct Hooks {
    asker: Option<Asker>,
}

/// Who asks.
struct Asker {
    outbound: Arc<dyn Outbound>,
    job: JobId,
    usage: Arc<Usage>,
    limits: CallLimits,
    trail: Option<HeaderValue>,
    /// Opened by the first call: most jobs make none.
    account: Option<Arc<Account>>,
}

/// What tells the job of a request how its body was received: nobody does.
type Sent = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// Gives components `wasi:http/types` and `wasi:http/outgoing-handler`.
pub(in crate::wasm) fn link<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    p2::add_only_http_to_linker_async(linker)?;
    // Its own `http-error-code` knows nothing of the errors of bodies, which it keeps as another type
    // than it looks for: every guest would learn that its response broke off, and none why.
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
        Error::HttpResponseBodySize(most) => Some(ErrorCode::HttpResponseBodySize(*most)),
        Error::HttpResponseIncomplete => Some(ErrorCode::HttpResponseIncomplete),
        Error::HttpProtocolError => Some(ErrorCode::HttpProtocolError),
        // No other is told of a body: see `told`.
        _ => None,
    }))
}

impl Http {
    /// For an instance that is no job's.
    pub(in crate::wasm) fn shut() -> Http {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(FIELDS);
        Http { context, hooks: Hooks { asker: None } }
    }

    /// For a job, whose requests `outbound` carries out.
    pub(in crate::wasm) fn of(job: &Job, outbound: &Arc<dyn Outbound>) -> Http {
        let asker = Asker {
            outbound: outbound.clone(),
            job: job.id,
            usage: job.usage.clone(),
            limits: job.entry.limits.outbound,
            trail: job.trail.clone(),
            account: None,
        };
        Http { hooks: Hooks { asker: Some(asker) }, ..Http::shut() }
    }

    /// Reports whether no call is under way.
    pub(in crate::wasm) fn is_quiet(&self) -> bool {
        let account = self.hooks.asker.as_ref().and_then(|asker| asker.account.as_ref());
        // A call that is being sent holds the account, and one that is being received a place.
        let quiet = |account: &Arc<Account>| {
            Arc::strong_count(account) == 1 && account.places.available_permits() == account.limits.at_once
        };
        account.is_none_or(quiet)
    }

    /// Lends it to wasmtime-wasi-http.
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
        _received: Sent,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Sent), Error>> + Send> {
        let Some(asker) = &mut self.asker else {
            return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
        };
        let Asker { outbound, job, usage, limits, trail, account } = asker;
        let open = || Arc::new(Account::new(*job, usage.clone(), *limits, trail.clone()));
        let account = account.get_or_insert_with(open);
        let options = options.unwrap_or_default();
        let call = Call {
            request: request.map(|body| body.map_err(|_| CallError::Abandoned).boxed_unsync()),
            patience: Patience {
                connect: options.connect_timeout,
                first_byte: options.first_byte_timeout,
                between_bytes: options.between_bytes_timeout,
            },
        };
        let answer = outbound.clone().send(account.clone(), call);
        Box::new(async move {
            let response = answer.await.map_err(told)?;
            let response = response.map(|body| body.map_err(told).boxed_unsync());
            // The connection lives and ends with the body.
            Ok((response, Box::new(std::future::ready(Ok(()))) as Sent))
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

/// Reports whether a guest may not set a field. Who has passed a request on is ours to say: a guest
/// would say that nobody has.
fn is_forbidden(name: &HeaderName) -> bool {
    DEFAULT_FORBIDDEN_HEADERS.contains(name) || name.as_str() == "cdn-loop"
}

/// Maps every way a call can fail to what a guest is told.
fn told(error: CallError) -> Error {
    match error {
        CallError::Denied => Error::HttpRequestDenied,
        CallError::AddressDenied => Error::DestinationIpProhibited,
        CallError::BadUrl => Error::HttpRequestUriInvalid,
        CallError::BadMethod => Error::HttpRequestMethodInvalid,
        CallError::TooMany(_) | CallError::Crowded(_) | CallError::Exhausted => Error::ConnectionLimitReached,
        CallError::NotFound(why) => Error::DnsError { rcode: Some(why), info_code: None },
        CallError::Refused => Error::ConnectionRefused,
        CallError::Unreachable(_) => Error::DestinationUnavailable,
        CallError::ConnectTimeout => Error::ConnectionTimeout,
        CallError::Certificate(_) => Error::TlsCertificateError,
        CallError::Tls(_) => Error::TlsProtocolError,
        CallError::FirstByteTimeout | CallError::BetweenBytesTimeout => Error::ConnectionReadTimeout,
        CallError::TimedOut => Error::HttpResponseTimeout,
        CallError::RequestTooLarge(most) => Error::HttpRequestBodySize(Some(most)),
        CallError::ResponseTooLarge(most) => Error::HttpResponseBodySize(Some(most)),
        CallError::Abandoned => Error::HttpProtocolError,
        CallError::HeadTooLarge => Error::HttpResponseHeaderSectionSize(None),
        CallError::Incomplete => Error::HttpResponseIncomplete,
        CallError::Protocol(_) => Error::HttpProtocolError,
        CallError::Ours(why) => Error::InternalError(Some(why)),
    }
}
