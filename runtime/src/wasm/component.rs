//! What every component is given, and what its instance owns.

use std::sync::Arc;

use wasmtime::component::{Component, InstancePre, Linker, ResourceTable};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Result, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use super::calls::{self, Calling};
use super::meter::Meter;
use super::outbound::{self, Http};
use super::{module, opening, trap};
use crate::job::{Fault, Limits, Status};

/// What one instance owns.
pub(super) struct State {
    wasi: WasiCtx,
    pub(super) table: ResourceTable,
    pub(super) meter: Meter,
    pub(super) http: Http,
    /// None: the component does not import what calls jobs.
    pub(super) calls: Option<Box<Calling>>,
}

impl State {
    /// Returns what the guest has to do with jobs it calls.
    pub(super) fn calls(&mut self) -> Result<&mut Calling> {
        self.calls.as_deref_mut().context("the component imports no calls")
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.http.view(&mut self.table)
    }
}

/// Makes the linker that gives components the worlds `wasi:cli/command` and `wasi:http/proxy`, the
/// calls of jobs, and nothing else.
///
/// Its socket interfaces are linked because every program built for wasm32-wasip2 imports them, but
/// they are shut: no address is allowed and no name is looked up.
pub(super) fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    opening::guard_components(&mut linker)?;
    // Every call of it is denied unless the handler is allowed its origin.
    outbound::link(&mut linker)?;
    calls::link_component(&mut linker)?;
    Ok(linker)
}

/// Makes the store of an instance.
pub(super) fn store(
    engine: &Engine,
    mut wasi: WasiCtxBuilder,
    meter: Meter,
    limits: &Limits,
    calls: Option<Box<Calling>>,
) -> Store<State> {
    // Shut until there is a job.
    let (wasi, table, http) = (wasi.build(), ResourceTable::new(), Http::shut());
    let mut store = Store::new(engine, State { wasi, table, meter, http, calls });
    store.limiter(|state| &mut state.meter);
    module::bound(&mut store, limits, |state| &mut state.table);
    store
}

/// Makes an instance and runs none of it but its start function; `calls`: it imports what calls jobs.
pub(super) async fn prove(
    instance: &InstancePre<State>,
    wasi: WasiCtxBuilder,
    limits: &Limits,
    calls: bool,
) -> std::result::Result<(), Fault> {
    let meter = Meter::new(limits.memory, Arc::default());
    let calls = calls.then(|| Box::new(Calling::nothing()));
    let mut store = store(instance.engine(), wasi, meter, limits, calls);
    let outcome = instance.instantiate_async(&mut store).await.map(drop);
    conclude(outcome, &store, limits).map(drop)
}

/// Says how a job ended whose instance goes with it.
pub(super) fn conclude(
    outcome: Result<()>,
    store: &Store<State>,
    limits: &Limits,
) -> std::result::Result<Status, Fault> {
    trap::conclude(outcome, &store.data().meter, limits.handles)
}

/// Reports whether a component imports what calls jobs.
pub(super) fn calls_jobs(engine: &Engine, component: &Component) -> bool {
    component.component_type().imports(engine).any(|(name, _)| name.starts_with(calls::PACKAGE))
}

/// The interfaces that ask other servers, of WASI 0.2 and 0.3.
const ASKING: [&str; 2] = ["wasi:http/outgoing-handler@", "wasi:http/client@"];

/// Reports whether a component asks other servers; if not, it need not be given what carries that out.
pub(super) fn asks(engine: &Engine, component: &Component) -> bool {
    component
        .component_type()
        .imports(engine)
        .any(|(name, _)| ASKING.iter().any(|interface| name.starts_with(interface)))
}

/// Reports whether a component exports an interface: `wasi:cli/run@0.2`, say, for all versions 0.2.x.
pub(super) fn exports(engine: &Engine, component: &Component, interface: &str) -> bool {
    component.component_type().exports(engine).any(|(name, _)| name.starts_with(interface))
}
