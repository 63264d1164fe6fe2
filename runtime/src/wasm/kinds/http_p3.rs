//! Calls components that answer HTTP through WASI 0.3, which export `wasi:http/handler`.

use std::future::poll_fn;
use std::pin::pin;

use http_body_util::BodyExt as _;
use tokio::sync::watch;
use wasmtime::component::Accessor;
use wasmtime::{Result, Store};
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::p3::bindings::Service;

use super::component::Leftover;
use crate::job::{Fault, Job, Proxied};
use crate::wasm::host::body::{BodyFault, LentRequestBody, MeteredResponseBody, ResponseAccount};
use crate::wasm::host::component_state::State;

/// Has an instance answer a request. Returns when its tasks are done and its response body has been read.
pub(in crate::wasm) async fn answer(
    store: &mut Store<State>,
    service: &Service,
    proxied: Box<Proxied>,
    job: &Job,
) -> Result<Leftover> {
    let before = store.concurrent_state_table_size();
    let Proxied { request, answer, next } = *proxied;
    store.data_mut().next = next;
    let broken = BodyFault::default();
    let (parts, body) = request.into_parts();
    // Not taken back when `handle` returns: the component may have made it the body of the response.
    let (body, lent) = LentRequestBody::lend(body, broken.clone(), job);
    let written = ResponseAccount::by(job, broken.clone());
    // The future tells how the component used the body, which does not matter here.
    let (request, _processed) =
        Request::from_http(store.data_mut().http().hooks, http::Request::from_parts(parts, body));
    let work = async |accessor: &Accessor<State>| -> Result<()> {
        let (unread, mut read) = watch::channel(());
        let given = match service.handle(accessor, request).await? {
            Ok(response) => {
                let mut sent = read.clone();
                let sent = async move {
                    // The sender sends nothing; the channel closes when the response body is dropped.
                    let _dropped = sent.changed().await;
                    Ok(())
                };
                let response = accessor.with(|store| response.into_http(store, sent))?;
                Ok(response.map(|body| {
                    let held = move |frame| {
                        let _until_dropped = &unread;
                        frame
                    };
                    MeteredResponseBody::new(body, written).map_frame(held).boxed_unsync()
                }))
            }
            Err(code) => {
                drop(unread);
                Err(Fault::bad_answer(format_args!("the handler answered with {code:?}")))
            }
        };
        // The receiver is gone if the client has left.
        let _left = answer.send(given);
        poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
        // The last chunks of a body pass through the store, which must live until they are read.
        let _dropped = read.changed().await;
        Ok(())
    };
    let ended = broken.end(pin!(async { store.run_concurrent(work).await? })).await;
    store.data_mut().next = None;
    ended?;
    lent.take_back();
    Ok(if store.concurrent_state_table_size() > before { Leftover::Something } else { Leftover::Nothing })
}
