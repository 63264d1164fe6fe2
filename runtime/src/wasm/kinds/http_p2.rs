//! Calls components that answer HTTP through WASI 0.2, which export `wasi:http/incoming-handler`.

use std::convert::Infallible;
use std::pin::pin;

use bytes::Bytes;
use http::Request;
use http_body::Body as _;
use http_body_util::{BodyExt as _, Empty};
use wasmtime::component::Resource;
use wasmtime::{Result, Store};
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::{Error, WasiHttpView as _};

use super::component::Leftover;
use crate::job::{Fault, Job, Proxied};
use crate::wasm::host::body::{BodyFault, Lent, LentRequestBody, MeteredResponseBody, ResponseAccount};
use crate::wasm::host::component_state::State;

/// Has an instance answer a request. Returns when the exported function has returned.
pub(in crate::wasm) async fn answer(
    store: &mut Store<State>,
    proxy: &Proxy,
    proxied: Box<Proxied>,
    job: &Job,
) -> Result<Leftover> {
    let broken = BodyFault::default();
    let (request, response, lent) = hand_over(store, *proxied, job, &broken)?;
    let handler = proxy.wasi_http_incoming_handler();
    broken.end(pin!(handler.call_handle(&mut *store, request, response))).await?;
    // A request body may be held by a handle that the component forgot. It must not keep the client waiting.
    lent.into_iter().for_each(Lent::take_back);
    Ok(abort_unfinished(store.data_mut()))
}

/// Makes the two handles that the component gets, and lends it the request body, if there is one. Not part of
/// [`answer`], whose future would keep room for the request.
fn hand_over(
    store: &mut Store<State>,
    proxied: Proxied,
    job: &Job,
    broken: &BodyFault,
) -> Result<(Resource<HostIncomingRequest>, Resource<HostResponseOutparam>, Option<Lent>)> {
    let Proxied { request, answer, next: _ } = proxied;
    let scheme = match request.uri().scheme_str() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    };
    let (parts, body) = request.into_parts();
    let written = ResponseAccount::by(job, broken.clone());
    let mut http = store.data_mut().http();
    let (request, lent) = if body.is_end_stream() {
        // Most requests have no body, and need no account of one.
        let nothing = Empty::<Bytes>::new().map_err(|never: Infallible| -> Error { match never {} });
        (http.new_incoming_request(scheme, Request::from_parts(parts, nothing))?, None)
    } else {
        let (body, lent) = LentRequestBody::lend(body, broken.clone(), job);
        (http.new_incoming_request(scheme, Request::from_parts(parts, body))?, Some(lent))
    };
    let response = http.new_response_outparam_from_callback(move |response| {
        // The receiver is gone if the client has left.
        let _left = answer.send(match response {
            Ok(response) => Ok(response.map(|body| MeteredResponseBody::new(body, written).boxed_unsync())),
            Err(code) => Err(Fault::bad_answer(format_args!("the handler answered with {code:?}"))),
        });
    })?;
    Ok((request, response, lent))
}

/// Aborts response bodies that the component left unfinished. To the reader, a body that is merely
/// dropped looks complete.
fn abort_unfinished(state: &mut State) -> Leftover {
    let mut found = Leftover::Nothing;
    for left in state.table.iter_mut().filter_map(|entry| entry.downcast_mut::<HostOutgoingBody>()) {
        let (nothing, _reader) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1);
        std::mem::replace(left, nothing).abort();
        found = Leftover::Something;
    }
    found
}
