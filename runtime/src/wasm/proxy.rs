//! Components that answer HTTP by themselves: they export `wasi:http/incoming-handler`.

use std::num::NonZeroU32;
use std::sync::Arc;

use http::Request;
use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, Linker};
use wasmtime::error::Context as _;
use wasmtime::{Result, Store};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};

use super::body::{Broken, Ours, Theirs, Written};
use super::calls::Calling;
use super::component::{self, State};
use super::idle::Idle;
use super::meter::Meter;
use super::outbound::Http;
use super::retarget::Retarget;
use super::{module, trap};
use crate::job::{Fault, Job, Limits, Outbound, Output, Proxied, Status};

/// What such a component exports.
pub(super) const INTERFACE: &str = "wasi:http/incoming-handler@0.2";

/// What is said to whoever runs one as a program.
pub(super) const NO_PROGRAM: &str = "this handler answers HTTP requests (wasi:http) and is no program: give it a route and ask it with curl\n";

/// A compiled component with its imports resolved.
#[derive(Clone)]
pub struct ProxyCode {
    instance: ProxyPre<State>,
    asks: bool,
    /// Whether it imports what calls jobs.
    calls: bool,
    /// Places for instances that wait for a request, over all handlers.
    places: Arc<Semaphore>,
}

/// An instance between two requests.
pub(super) struct Warm {
    store: Store<State>,
    proxy: Proxy,
    /// Where it prints to.
    log: Arc<Retarget>,
    /// Requests it has answered.
    answered: u32,
}

impl ProxyCode {
    /// Finds the imports of a component.
    ///
    /// # Errors
    /// It imports what the daemon does not have.
    pub(super) fn link(
        linker: &Linker<State>,
        component: &Component,
        places: Arc<Semaphore>,
    ) -> Result<ProxyCode> {
        let instance = linker.instantiate_pre(component).context("imports what this daemon does not have")?;
        let (engine, instance) = (linker.engine(), ProxyPre::new(instance)?);
        let (asks, calls) = (component::asks(engine, component), component::calls_jobs(engine, component));
        Ok(ProxyCode { instance, asks, calls, places })
    }

    /// Makes room for instances that answer so many requests each.
    pub(super) fn idle(&self, requests: NonZeroU32) -> Idle<Warm> {
        Idle::new(requests, self.places.clone())
    }

    /// Answers one request in a fresh instance, or in one that has answered before and waits in
    /// `idle`, where it waits again if all went well. An instance whose job ends in any other way is
    /// dropped with it.
    pub(super) async fn run(
        &self,
        wasi: impl FnOnce() -> WasiCtxBuilder,
        outbound: &Arc<dyn Outbound>,
        idle: Option<&Idle<Warm>>,
        mut job: Job,
    ) -> std::result::Result<Status, Fault> {
        let Some(proxied) = job.proxied.take() else {
            // Whoever runs it has its stderr, open or not.
            let _told = job.stderr.write_all(NO_PROGRAM).await;
            return Ok(Status::ERROR);
        };
        let calls = self.calls.then(|| Box::new(Calling::of(&mut job)));
        let Some(idle) = idle else {
            let mut store = self.fresh(wasi(), job.stderr.clone(), &job);
            store.data_mut().calls = calls;
            store.data_mut().http = self.http(&job, outbound);
            let outcome = async {
                let proxy = self.instance.instantiate_async(&mut store).await?;
                answer(&mut store, &proxy, *proxied, &job).await
            };
            let outcome = outcome.await.map(drop);
            return conclude(outcome, &store, &job);
        };
        let mut warm = match idle.take() {
            Some(warm) => warm,
            None => {
                let log = Arc::new(Retarget::default());
                let mut store = self.fresh(wasi(), Output::to(vec![log.clone()]), &job);
                store.data_mut().calls = self.calls.then(|| Box::new(Calling::nothing()));
                match self.instance.instantiate_async(&mut store).await {
                    Ok(proxy) => Warm { store, proxy, log, answered: 0 },
                    Err(error) => return conclude(Err(error), &store, &job),
                }
            }
        };
        warm.log.point_at(Some(job.stderr.clone()));
        warm.store.data_mut().meter.charge(job.usage.clone());
        warm.store.data_mut().calls = calls;
        // Set for every request: each job has an account of its own.
        warm.store.data_mut().http = self.http(&job, outbound);
        let outcome = answer(&mut warm.store, &warm.proxy, *proxied, &job).await;
        // What it calls ends with the request; one that holds on to a job is not used again.
        let holds = warm.store.data_mut().calls.take().is_some_and(|calling| calling.knows_jobs());
        match outcome {
            // One that left a call open would hold its connection while it waits.
            Ok(Left::Nothing) if !holds && warm.store.data().http.is_quiet() => {
                warm.log.point_at(None);
                warm.answered += 1;
                let answered = warm.answered;
                idle.keep(warm, answered);
                Ok(Status::OK)
            }
            outcome => conclude(outcome.map(drop), &warm.store, &job),
        }
    }

    /// Makes an instance and runs none of it but its start function.
    pub(super) async fn prove(
        &self,
        wasi: WasiCtxBuilder,
        limits: &Limits,
    ) -> std::result::Result<(), Fault> {
        let meter = Meter::new(limits.memory, Arc::default());
        let mut store = self.store(wasi, meter, limits);
        store.data_mut().calls = self.calls.then(|| Box::new(Calling::nothing()));
        let outcome = self.instance.instantiate_async(&mut store).await.map(drop);
        trap::conclude(outcome, || store.data().meter.refused().then_some(limits.memory)).map(drop)
    }

    fn store(&self, wasi: WasiCtxBuilder, meter: Meter, limits: &Limits) -> Store<State> {
        component::store(self.instance.engine(), wasi, meter, limits)
    }

    /// Makes what a job asks other servers with.
    fn http(&self, job: &Job, outbound: &Arc<dyn Outbound>) -> Http {
        if self.asks { Http::of(job, outbound) } else { Http::shut() }
    }

    /// Makes the store of an instance that prints to `log`.
    fn fresh(&self, mut wasi: WasiCtxBuilder, log: Output, job: &Job) -> Store<State> {
        let limits = &job.entry.limits;
        module::give_to_proxy(&mut wasi, log, job);
        self.store(wasi, Meter::new(limits.memory, job.usage.clone()), limits)
    }
}

/// What a component has left behind after it answered.
enum Left {
    Nothing,
    /// A body that it did not finish.
    Body,
}

/// Has an instance answer a request, to the end of what it does about it.
async fn answer(store: &mut Store<State>, proxy: &Proxy, proxied: Proxied, job: &Job) -> Result<Left> {
    let Proxied { request, answer } = proxied;
    let broken = Broken::default();
    let scheme = match request.uri().scheme_str() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    };
    let (parts, body) = request.into_parts();
    let (body, lent) = Ours::lend(body, broken.clone());
    let written =
        Written { output: job.stdout.clone(), most: job.entry.limits.output, broken: broken.clone() };
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(scheme, Request::from_parts(parts, body))?;
    let response = http.new_response_outparam_from_callback(move |response| {
        // Whoever asked may have left.
        let _left = answer.send(match response {
            Ok(response) => Ok(response.map(|body| Theirs::new(body, written).boxed_unsync())),
            Err(code) => Err(Fault::BadAnswer(format!("the handler answered with {code:?}"))),
        });
    })?;
    let handler = proxy.wasi_http_incoming_handler();
    broken.end(handler.call_handle(&mut *store, request, response)).await?;
    // What it keeps of a body in a handle that it forgot must not keep the client waiting.
    lent.take_back();
    Ok(abort_unfinished(store.data_mut()))
}

/// Says how a job ended whose instance goes with it.
fn conclude(outcome: Result<()>, store: &Store<State>, job: &Job) -> std::result::Result<Status, Fault> {
    trap::conclude(outcome, || store.data().meter.refused().then_some(job.entry.limits.memory))
}

/// Breaks off the bodies that a component leaves behind without having finished them: to the reader,
/// one that is dropped looks like one that is whole.
fn abort_unfinished(state: &mut State) -> Left {
    let mut found = Left::Nothing;
    for left in state.table.iter_mut().filter_map(|entry| entry.downcast_mut::<HostOutgoingBody>()) {
        let (nothing, _reader) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1);
        std::mem::replace(left, nothing).abort();
        found = Left::Body;
    }
    found
}
