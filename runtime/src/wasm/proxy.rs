//! Components that answer HTTP by themselves: they export `wasi:http/incoming-handler`.

use std::sync::Arc;

use http_body_util::BodyExt as _;
use wasmtime::component::{Component, Linker};
use wasmtime::error::Context as _;
use wasmtime::{Result, Store};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};

use super::body::{Broken, Ours, Theirs, Written};
use super::component::{self, State};
use super::meter::Meter;
use super::{module, trap};
use crate::job::{Fault, Job, Limits, Proxied, Status};

/// What such a component exports.
pub(super) const INTERFACE: &str = "wasi:http/incoming-handler@0.2";

/// What is said to whoever runs one as a program.
const NO_PROGRAM: &str = "this handler answers HTTP requests (wasi:http) and is no program: give it a route and ask it with curl\n";

/// A compiled component with its imports resolved.
#[derive(Clone)]
pub struct ProxyCode(ProxyPre<State>);

impl ProxyCode {
    /// Finds the imports of a component.
    ///
    /// # Errors
    /// It imports what the daemon does not have.
    pub(super) fn link(linker: &Linker<State>, component: &Component) -> Result<ProxyCode> {
        let instance = linker.instantiate_pre(component).context("imports what this daemon does not have")?;
        Ok(ProxyCode(ProxyPre::new(instance)?))
    }

    /// Answers one request in a fresh instance.
    pub(super) async fn run(
        &self,
        mut wasi: WasiCtxBuilder,
        mut job: Job,
    ) -> std::result::Result<Status, Fault> {
        let Some(proxied) = job.proxied.take() else {
            // Whoever runs it has its stderr, open or not.
            let _told = job.stderr.write_all(NO_PROGRAM).await;
            return Ok(Status::ERROR);
        };
        let memory = job.entry.limits.memory;
        let meter = Meter::new(memory, job.usage.clone());
        module::give_to_proxy(&mut wasi, &job);
        let mut store = self.store(wasi, meter, &job.entry.limits);
        let outcome = self.answer(&mut store, *proxied, &job).await;
        trap::conclude(outcome, || store.data().meter.refused().then_some(memory))
    }

    /// Makes an instance and runs none of it but its start function.
    pub(super) async fn prove(
        &self,
        wasi: WasiCtxBuilder,
        limits: &Limits,
    ) -> std::result::Result<(), Fault> {
        let meter = Meter::new(limits.memory, Arc::default());
        let mut store = self.store(wasi, meter, limits);
        let outcome = self.0.instantiate_async(&mut store).await.map(drop);
        trap::conclude(outcome, || store.data().meter.refused().then_some(limits.memory)).map(drop)
    }

    fn store(&self, wasi: WasiCtxBuilder, meter: Meter, limits: &Limits) -> Store<State> {
        component::store(self.0.engine(), wasi, meter, limits)
    }

    /// Has the component answer a request, to the end of what it does about it.
    async fn answer(&self, store: &mut Store<State>, proxied: Proxied, job: &Job) -> Result<()> {
        let Proxied { request, answer } = proxied;
        let broken = Broken::default();
        let work = async {
            let proxy = self.0.instantiate_async(&mut *store).await?;
            let scheme = match request.uri().scheme_str() {
                Some("https") => Scheme::Https,
                _ => Scheme::Http,
            };
            let request = request.map(|body| Ours::new(body, broken.clone()));
            let written =
                Written { output: job.stdout.clone(), most: job.entry.limits.output, broken: broken.clone() };
            let mut http = store.data_mut().http();
            let request = http.new_incoming_request(scheme, request)?;
            let response = http.new_response_outparam_from_callback(move |response| {
                // Whoever asked may have left.
                let _left = answer.send(match response {
                    Ok(response) => Ok(response.map(|body| Theirs::new(body, written).boxed_unsync())),
                    Err(code) => Err(Fault::BadAnswer(format!("the handler answered with {code:?}"))),
                });
            })?;
            proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, response).await
        };
        broken.end(work).await?;
        abort_unfinished(store.data_mut());
        Ok(())
    }
}

/// Breaks off the bodies that a component leaves behind without having finished them: to the reader,
/// one that is dropped looks like one that is whole.
fn abort_unfinished(state: &mut State) {
    for left in state.table.iter_mut().filter_map(|entry| entry.downcast_mut::<HostOutgoingBody>()) {
        let (nothing, _reader) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1);
        std::mem::replace(left, nothing).abort();
    }
}
