//! `wasi:http/handler` as an import: what stands behind a middleware answers (the world `wasi:http/middleware` of 0.3).

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;
use wasmtime::Result;
use wasmtime::component::{Accessor, Linker, Resource};
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p3::{Request, Response};
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpView as _};

use super::component_state::State;
use crate::job::{AnswerStage, Fault, Proxied};

/// The interface, with its first version. The linker gives the same function to components that were built with a later
/// 0.3.
pub(in crate::wasm) const INTERFACE: &str = "wasi:http/handler@0.3.0";

/// The name of the interface in any version.
pub(in crate::wasm) const IMPORT: &str = "wasi:http/handler@";

/// The body of a request that a middleware passes on. The mutex makes it `Sync`; nothing else locks it.
struct PassedBody(Mutex<WasiBody>);

/// Adds the function to a linker.
pub(in crate::wasm) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.instance(INTERFACE)?.func_wrap_concurrent(
        "handle",
        |accessor: &Accessor<State>, (request,): (Resource<Request>,)| {
            Box::pin(async move { Ok((handle(accessor, request).await?,)) })
        },
    )
}

/// Passes a request on, and waits for the head of its response.
async fn handle(
    accessor: &Accessor<State>,
    request: Resource<Request>,
) -> Result<std::result::Result<Resource<Response>, ErrorCode>> {
    let passed = accessor.with(|mut store| -> Result<std::result::Result<_, ErrorCode>> {
        let state = store.get();
        let (request, next) = (state.table.delete(request)?, state.next.clone());
        // The future tells the component how its request was processed, which does not matter here.
        match request.into_http(&mut store, async { Ok(()) }) {
            Ok((request, _options)) => Ok(Ok((request, next))),
            Err(refusal) => Ok(Err(refusal.downcast()?)),
        }
    })?;
    let (request, next) = match passed {
        Ok((request, Some(next))) => (request, next),
        Ok((_, None)) => return Ok(Err(internal("nothing stands behind this handler: name it in `before`"))),
        Err(code) => return Ok(Err(code)),
    };
    let request = request.map(|body| PassedBody(Mutex::new(body)).boxed());
    let (answer, given) = oneshot::channel();
    if next.send(Proxied { request, answer, next: None }).await.is_err() {
        return Ok(Err(internal(
            "no more requests are passed on: the response has begun, or there were too many",
        )));
    }
    let response = match given.await {
        Ok(Ok(response)) => response,
        Ok(Err(fault)) => return Ok(Err(code(&fault))),
        Err(_) => return Ok(Err(internal("what stands behind this handler was ended"))),
    };
    let broken = |fault: Fault| {
        let told = fault.at(AnswerStage::Unasked).in_public().to_string();
        Error::InternalError(Some(told))
    };
    let response = response.map(|body| body.map_err(broken));
    accessor.with(|mut store| {
        let state = store.get();
        let (response, _processed) = Response::from_http(state.http().hooks, response);
        Ok(Ok(state.table.push(response)?))
    })
}

/// Maps a failure of what stands behind the middleware to the error for it. The log has the rest.
fn code(fault: &Fault) -> ErrorCode {
    match fault {
        Fault::TimedOut(_) | Fault::CpuExceeded(_) => ErrorCode::HttpResponseTimeout,
        fault if fault.is_without_slot() => ErrorCode::ConnectionLimitReached,
        Fault::InputTooLarge(max) => ErrorCode::HttpRequestBodySize(Some(*max)),
        other => internal(other.code()),
    }
}

fn internal(why: &str) -> ErrorCode {
    ErrorCode::InternalError(Some(why.to_owned()))
}

impl PassedBody {
    fn body(&self) -> std::sync::MutexGuard<'_, WasiBody> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for PassedBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Fault>>> {
        let body = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let frame = Pin::new(body).poll_frame(context);
        frame.map_err(|error| Fault::InputBroken(error.to_string()))
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}
