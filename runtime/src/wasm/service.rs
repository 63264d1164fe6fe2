//! Components that answer HTTP by themselves as of WASI 0.3: they export `wasi:http/handler`.

use std::future::poll_fn;
use std::sync::Arc;

use http_body_util::BodyExt as _;
use tokio::sync::watch;
use wasmtime::component::{Accessor, Component, Linker};
use wasmtime::error::Context as _;
use wasmtime::{Result, Store};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};

use super::body::{Broken, Ours, Theirs, Written};
use super::calls::Calling;
use super::component::{self, State};
use super::meter::Meter;
use super::outbound::Http;
use super::{module, proxy, trap};
use crate::job::{Fault, Job, Limits, Outbound, Proxied, Status};

/// What such a component exports.
pub(super) const INTERFACE: &str = "wasi:http/handler@0.3";

/// A compiled component with its imports resolved.
#[derive(Clone)]
pub struct ServiceCode {
    service: ServicePre<State>,
    /// Whether it imports what calls jobs.
    calls: bool,
}

impl ServiceCode {
    /// Finds the imports of a component.
    ///
    /// # Errors
    /// It imports what the daemon does not have.
    pub(super) fn link(linker: &Linker<State>, component: &Component) -> Result<ServiceCode> {
        let instance = linker.instantiate_pre(component).context("imports what this daemon does not have")?;
        let calls = component::calls_jobs(linker.engine(), component);
        Ok(ServiceCode { service: ServicePre::new(instance)?, calls })
    }

    /// Answers one request in a fresh instance.
    pub(super) async fn run(
        &self,
        mut wasi: WasiCtxBuilder,
        outbound: &Arc<dyn Outbound>,
        mut job: Job,
    ) -> std::result::Result<Status, Fault> {
        let Some(proxied) = job.proxied.take() else {
            // Whoever runs it has its stderr, open or not.
            let _told = job.stderr.write_all(proxy::NO_PROGRAM).await;
            return Ok(Status::ERROR);
        };
        let calls = self.calls.then(|| Box::new(Calling::of(&mut job)));
        let limits = &job.entry.limits;
        module::give_to_proxy(&mut wasi, job.stderr.clone(), &job);
        let mut store = self.store(wasi, Meter::new(limits.memory, job.usage.clone()), limits);
        store.data_mut().calls = calls;
        store.data_mut().http = Http::of(&job, outbound);
        let outcome = async {
            let service = self.service.instantiate_async(&mut store).await?;
            answer(&mut store, &service, *proxied, &job).await
        };
        let outcome = outcome.await;
        trap::conclude(outcome, || store.data().meter.refused().then_some(limits.memory))
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
        let outcome = self.service.instantiate_async(&mut store).await.map(drop);
        trap::conclude(outcome, || store.data().meter.refused().then_some(limits.memory)).map(drop)
    }

    fn store(&self, wasi: WasiCtxBuilder, meter: Meter, limits: &Limits) -> Store<State> {
        component::store(self.service.engine(), wasi, meter, limits)
    }
}

/// Has an instance answer a request, to the end of what it does about it and of what is read of it.
async fn answer(store: &mut Store<State>, service: &Service, proxied: Proxied, job: &Job) -> Result<()> {
    let Proxied { request, answer } = proxied;
    let broken = Broken::default();
    let (parts, body) = request.into_parts();
    // Not taken back when the handler is done: it may have made this body the response's.
    let (body, _lent) = Ours::lend(body, broken.clone());
    let written =
        Written { output: job.stdout.clone(), most: job.entry.limits.output, broken: broken.clone() };
    // What it makes of the body in the end is its own affair.
    let (request, _processed) =
        Request::from_http(store.data_mut().http().hooks, http::Request::from_parts(parts, body));
    let work = async |accessor: &Accessor<State>| -> Result<()> {
        let (unread, mut read) = watch::channel(());
        let given = match service.handle(accessor, request).await? {
            Ok(response) => {
                let mut sent = read.clone();
                let sent = async move {
                    // Its sender never sends and is dropped with the body.
                    let _dropped = sent.changed().await;
                    Ok(())
                };
                let response = accessor.with(|store| response.into_http(store, sent))?;
                Ok(response.map(|body| {
                    let held = move |frame| {
                        let _until_dropped = &unread;
                        frame
                    };
                    Theirs::new(body, written).map_frame(held).boxed_unsync()
                }))
            }
            Err(code) => {
                drop(unread);
                Err(Fault::BadAnswer(format!("the handler answered with {code:?}")))
            }
        };
        // Whoever asked may have left.
        let _left = answer.send(given);
        poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
        // The last pieces of a body pass through the store, which must be there until they are read.
        let _dropped = read.changed().await;
        Ok(())
    };
    broken.end(async { store.run_concurrent(work).await? }).await
}
