//! What every component is given, and what its instance owns.

use std::sync::Arc;

use wasmtime::component::{Component, InstancePre, Linker, ResourceTable};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Result, Store};

use crate::job::{Fault, Job, Limits, Outbound, Status};
use crate::wasm::host::calls::{self, Calling};
use crate::wasm::host::component_state::State;
use crate::wasm::host::guest::{self, Wasi};
use crate::wasm::host::handles::Opened;
use crate::wasm::host::meter::Meter;
use crate::wasm::host::outbound::{self, Http};
use crate::wasm::host::pollables::Pollables;
use crate::wasm::host::tmp::Tmp;
use crate::wasm::host::{links, open_guard, preview2, trap};

/// What is said of a module that imports something else than it is given.
pub(in crate::wasm) const ABSENT: &str = "imports what this daemon does not have";

/// What a component imports that is made only for those that do.
#[derive(Clone, Copy)]
pub(in crate::wasm) struct Imports {
    /// What asks other servers.
    asks: bool,
    /// What calls jobs.
    calls: bool,
}

impl Imports {
    /// The interfaces that ask other servers, of WASI 0.2 and 0.3.
    const ASKING: [&str; 2] = ["wasi:http/outgoing-handler@", "wasi:http/client@"];

    pub(in crate::wasm) fn of(component: &Component) -> Imports {
        let (engine, ty) = (component.engine(), component.component_type());
        let found = |interface: &str| ty.imports(engine).any(|(name, _)| name.starts_with(interface));
        Imports { asks: Imports::ASKING.into_iter().any(found), calls: found(calls::PACKAGE) }
    }

    /// Makes what a job asks other servers with.
    pub(in crate::wasm) fn http(self, job: &Job, outbound: &Arc<dyn Outbound>) -> Http {
        if self.asks { Http::of(job, outbound) } else { Http::shut() }
    }

    /// Makes what a job calls others with.
    pub(in crate::wasm) fn calling(self, job: &mut Job) -> Option<Box<Calling>> {
        self.calls.then(|| Box::new(Calling::of(job)))
    }

    /// Makes what an instance has in its place that is no job's.
    pub(super) fn calling_nothing(self) -> Option<Box<Calling>> {
        self.calls.then(|| Box::new(Calling::nothing()))
    }
}

/// Makes the linker that gives components the worlds `wasi:cli/command` and `wasi:http/proxy`, the
/// calls of jobs, and nothing else.
///
/// Its socket interfaces are linked because every program built for wasm32-wasip2 imports them, but
/// they are shut: no address is allowed and no name is looked up.
pub(in crate::wasm) fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker: Linker<State> = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    open_guard::guard_components(&mut linker, |state: &mut State| &mut state.opened, tmp)?;
    links::guard_components(&mut linker, tmp)?;
    preview2::serve(&mut linker)?;
    // Every call of it is denied unless the handler is allowed its origin.
    outbound::link(&mut linker)?;
    calls::link_component(&mut linker)?;
    Ok(linker)
}

fn tmp(state: &mut State) -> Option<&mut Tmp> {
    state.tmp.as_deref_mut()
}

/// Finds the imports of a component.
///
/// # Errors
/// It imports what the daemon does not have.
pub(in crate::wasm) fn link(linker: &Linker<State>, component: &Component) -> Result<InstancePre<State>> {
    linker.instantiate_pre(component).context(ABSENT)
}

/// Makes the store of an instance.
pub(in crate::wasm) fn store(
    engine: &Engine,
    mut wasi: Wasi,
    (meter, opened): (Meter, Opened),
    limits: &Limits,
    calls: Option<Box<Calling>>,
) -> Store<State> {
    let tmp = wasi.tmp.take();
    // Shut until there is a job.
    let (wasi, table, http) = (wasi.build(), ResourceTable::new(), Http::shut());
    let pollables = Pollables::new(limits.handles);
    let state = State { wasi, table, meter, opened, tmp, http, pollables, calls };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.meter);
    guest::bound(&mut store, limits, |state| &mut state.table);
    store
}

/// Makes an instance and runs none of it but its start function.
pub(in crate::wasm) async fn prove(
    instance: &InstancePre<State>,
    wasi: Wasi,
    limits: &Limits,
    imports: Imports,
) -> std::result::Result<(), Fault> {
    let metered = guest::unmetered(limits);
    let mut store = store(instance.engine(), wasi, metered, limits, imports.calling_nothing());
    let outcome = instance.instantiate_async(&mut store).await.map(drop);
    conclude(outcome, &store, limits).map(drop)
}

/// Says how a job ended whose instance goes with it.
pub(in crate::wasm) fn conclude(
    outcome: Result<()>,
    store: &Store<State>,
    limits: &Limits,
) -> std::result::Result<Status, Fault> {
    trap::conclude(outcome, &store.data().meter, limits.handles)
}

/// Returns the bytes of a component's first memories and tables, as far as they are known.
pub(in crate::wasm) fn memory(instance: &InstancePre<State>) -> usize {
    instance.component().resources_required().as_ref().map_or(0, guest::initial)
}

/// What a component has left behind after it answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::wasm) enum Left {
    Nothing,
    /// A body that it did not finish, or a stream or task that it keeps.
    Something,
}
