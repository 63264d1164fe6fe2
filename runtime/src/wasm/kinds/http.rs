//! Components that answer HTTP themselves, each request in a fresh instance or in a reused one.

use std::num::NonZeroU32;
use std::sync::Arc;

use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Result, Store};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};

use super::component::{self, Imports, Leftover};
use super::instance_pool::InstancePool;
use super::{http_p2, http_p3};
use crate::budget::Budget;
use crate::job::{Fault, Job, Limits, Outbound, Output, Proxied, Status};
use crate::wasm::host::calls::Calling;
use crate::wasm::host::component_state::State;
use crate::wasm::host::guest::{self, Wasi};
use crate::wasm::host::output_switch::OutputSwitch;

/// The error for running such a component as a program.
pub const NO_PROGRAM: &str =
    "this handler answers HTTP requests (wasi:http) and is not a program: give it a route and use curl";

/// A compiled component with its imports resolved.
#[derive(Clone)]
pub struct HttpComponent {
    version: WasiHttpVersion,
    imports: Imports,
    /// Pool permits for idle instances, shared by all handlers.
    places: Arc<Budget>,
}

/// The version of wasi:http that the component exports.
#[derive(Clone)]
enum WasiHttpVersion {
    /// 0.2: it exports `wasi:http/incoming-handler`.
    Proxy(ProxyPre<State>),
    /// 0.3: it exports `wasi:http/handler`.
    Service(ServicePre<State>),
}

enum Instance {
    Proxy(Proxy),
    Service(Service),
}

/// An instance between two requests.
pub(in crate::wasm) struct Warm {
    store: Store<State>,
    instance: Instance,
    /// Where the instance's output goes: the log of the current job.
    log: Arc<OutputSwitch>,
    /// How many requests it has answered.
    answered: u32,
}

impl HttpComponent {
    /// Resolves the imports of a component that exports wasi:http 0.2.
    ///
    /// # Errors
    /// It imports something that the daemon does not provide.
    pub(in crate::wasm) fn proxy(
        linker: &Linker<State>,
        component: &Component,
        places: Arc<Budget>,
    ) -> Result<HttpComponent> {
        let version = WasiHttpVersion::Proxy(ProxyPre::new(component::link(linker, component)?)?);
        Ok(HttpComponent::new(version, component, places))
    }

    /// Resolves the imports of a component that exports wasi:http 0.3.
    ///
    /// # Errors
    /// It imports something that the daemon does not provide.
    pub(in crate::wasm) fn service(
        linker: &Linker<State>,
        component: &Component,
        places: Arc<Budget>,
    ) -> Result<HttpComponent> {
        let version = WasiHttpVersion::Service(ServicePre::new(component::link(linker, component)?)?);
        Ok(HttpComponent::new(version, component, places))
    }

    fn new(version: WasiHttpVersion, component: &Component, places: Arc<Budget>) -> HttpComponent {
        HttpComponent { version, imports: Imports::of(component), places }
    }

    /// Makes an instance pool; each of its instances answers up to `requests` requests.
    pub(in crate::wasm) fn idle(&self, requests: NonZeroU32) -> InstancePool<Warm> {
        InstancePool::new(requests, self.places.clone())
    }

    /// Answers one request, in a fresh instance or in one taken from `idle`. An instance goes back to
    /// `idle` if its job ended well and left nothing open. Otherwise it is dropped with its job.
    pub(in crate::wasm) async fn run(
        &self,
        wasi: impl FnOnce() -> Wasi,
        outbound: &Arc<dyn Outbound>,
        idle: Option<&InstancePool<Warm>>,
        mut job: Box<Job>,
    ) -> std::result::Result<Status, Fault> {
        let Some(proxied) = job.proxied.take() else {
            // A failed write does not matter: stderr may be closed, and the status reports the failure as well.
            let _told = job.stderr.write_all(format!("{NO_PROGRAM}\n")).await;
            return Ok(Status::ERROR);
        };
        let calls = self.imports.calling(&mut job);
        let http = self.imports.http(&job, outbound);
        let (stores, databases) = (self.imports.stores(&job), self.imports.databases(&job));
        let Some(idle) = idle else {
            let mut store = self.fresh(wasi(), job.stderr.clone(), &mut job, calls);
            let state = store.data_mut();
            (state.http, state.stores, state.databases) = (http, stores, databases);
            let outcome = async {
                let instance = self.version.instantiate(&mut store).await?;
                job.usage.timing.ready();
                instance.answer(&mut store, proxied, &job).await
            };
            let outcome = outcome.await.map(drop);
            return component::conclude(outcome, &store, &job.entry.limits);
        };
        let mut warm = match idle.take() {
            Some(warm) => warm,
            None => match self.warm_up(wasi(), &mut job).await {
                Ok(warm) => warm,
                Err(end) => return end,
            },
        };
        // For every request, because each job has accounts of its own.
        warm.log.point_at(Some(job.stderr.clone()));
        let state = warm.store.data_mut();
        state.meter.charge(job.usage.clone());
        (state.calls, state.http, state.stores, state.databases) = (calls, http, stores, databases);
        job.usage.timing.ready();
        let outcome = warm.instance.answer(&mut warm.store, proxied, &job).await;
        // Noted now: the store, whose drop notes it otherwise, may outlive the job.
        warm.store.data_mut().note_handles();
        // Its calls of jobs end with the request. An instance that still holds a job or a swap is not reused.
        let state = warm.store.data_mut();
        // An open transaction is rolled back.
        state.databases = None;
        let holds = state.calls.take().is_some_and(|calling| calling.knows_jobs())
            | state.stores.take().is_some_and(|stores| stores.knows_swaps());
        match outcome {
            // An idle instance with an open HTTP call would hold that connection.
            Ok(Leftover::Nothing)
                if !holds && warm.store.data().http.is_quiet() && !warm.store.data().meter.is_scarce() =>
            {
                warm.log.point_at(None);
                warm.answered += 1;
                let answered = warm.answered;
                idle.keep(warm, answered);
                Ok(Status::OK)
            }
            outcome => component::conclude(outcome.map(drop), &warm.store, &job.entry.limits),
        }
    }

    /// Makes an instance for the pool.
    ///
    /// # Errors
    /// The instance ends while it is made. The error is the outcome of the job.
    async fn warm_up(
        &self,
        wasi: Wasi,
        job: &mut Job,
    ) -> std::result::Result<Warm, std::result::Result<Status, Fault>> {
        let log = Arc::new(OutputSwitch::default());
        let calls = self.imports.calling_nothing();
        let mut store = self.fresh(wasi, Output::to(vec![log.clone()]), job, calls);
        match self.version.instantiate(&mut store).await {
            Ok(instance) => Ok(Warm { store, instance, log, answered: 0 }),
            Err(error) => Err(component::conclude(Err(error), &store, &job.entry.limits)),
        }
    }

    /// Instantiates the component and checks the type of its entry point. Runs nothing but start functions.
    pub(in crate::wasm) async fn prove(&self, wasi: Wasi, limits: &Limits) -> std::result::Result<(), Fault> {
        let mut store = component::proof(self.version.instance().engine(), wasi, limits, self.imports);
        let outcome = self.version.instantiate(&mut store).await.map(drop);
        component::conclude(outcome, &store, limits).map(drop)
    }

    /// Whether it is a middleware, which passes requests on to what stands behind it.
    pub(in crate::wasm) fn passes_on(&self) -> bool {
        self.imports.passes_on()
    }

    /// Returns the bytes of the memories and tables that an instance starts with.
    pub(in crate::wasm) fn memory(&self) -> usize {
        component::memory(self.version.instance())
    }

    /// Makes the store of an instance that prints to `log`.
    fn fresh(&self, mut wasi: Wasi, log: Output, job: &mut Job, calls: Option<Box<Calling>>) -> Store<State> {
        guest::give_to_proxy(&mut wasi, log, job);
        let metered = guest::metered(job);
        component::store(self.version.instance().engine(), wasi, metered, &job.entry.limits, calls)
    }
}

impl WasiHttpVersion {
    fn instance(&self) -> &InstancePre<State> {
        match self {
            WasiHttpVersion::Proxy(proxy) => proxy.instance_pre(),
            WasiHttpVersion::Service(service) => service.instance_pre(),
        }
    }

    async fn instantiate(&self, store: &mut Store<State>) -> Result<Instance> {
        match self {
            WasiHttpVersion::Proxy(proxy) => proxy.instantiate_async(store).await.map(Instance::Proxy),
            WasiHttpVersion::Service(service) => {
                service.instantiate_async(store).await.map(Instance::Service)
            }
        }
    }
}

impl Instance {
    /// Answers a request. Returns when all work of the instance on it is done.
    async fn answer(&self, store: &mut Store<State>, proxied: Box<Proxied>, job: &Job) -> Result<Leftover> {
        match self {
            Instance::Proxy(proxy) => http_p2::answer(store, proxy, proxied, job).await,
            // This future takes several KiB; the box keeps them out of the future for 0.2.
            Instance::Service(service) => Box::pin(http_p3::answer(store, service, proxied, job)).await,
        }
    }
}
