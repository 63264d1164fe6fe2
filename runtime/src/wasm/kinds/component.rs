//! The linker and the store that all kinds of component share.

use std::sync::Arc;

use wasmtime::component::{Component, InstancePre, Linker, ResourceTable};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Result, Store};

use crate::job::{Fault, Job, Limits, Outbound, Status};
use crate::wasm::host::calls::{self, Calling};
use crate::wasm::host::component_state::State;
use crate::wasm::host::databases::{self, GuestDatabases};
use crate::wasm::host::guest::{self, Wasi};
use crate::wasm::host::handles::{self, DescriptorCount};
use crate::wasm::host::memory_meter::Meter;
use crate::wasm::host::outbound::{self, Http};
use crate::wasm::host::pollables::Pollables;
use crate::wasm::host::stores::{self, GuestStores};
use crate::wasm::host::tmp::Tmp;
use crate::wasm::host::{links, middleware, open_guard, preview2, telemetry, trap};

/// The error for a module that imports something the daemon does not provide.
pub(in crate::wasm) const ABSENT: &str = "imports what this daemon does not provide";

/// Which optional host state a component imports. The state is made only for components that import it.
#[derive(Clone, Copy)]
pub(in crate::wasm) struct Imports {
    /// Whether it imports an HTTP client.
    asks: bool,
    /// Whether it imports the interfaces that call jobs.
    calls: bool,
    /// Whether it imports an interface of stores, settings or messages.
    stores: bool,
    /// Whether it imports an interface of databases.
    databases: bool,
    /// Whether it imports the interface of what stands behind it.
    next: bool,
}

impl Imports {
    /// The interfaces of the HTTP client, in WASI 0.2 and 0.3.
    const ASKING: [&str; 2] = ["wasi:http/outgoing-handler@", "wasi:http/client@"];

    pub(in crate::wasm) fn of(component: &Component) -> Imports {
        let (engine, ty) = (component.engine(), component.component_type());
        let found = |interface: &str| ty.imports(engine).any(|(name, _)| name.starts_with(interface));
        Imports {
            asks: Imports::ASKING.into_iter().any(found),
            calls: found(calls::PACKAGE),
            stores: stores::PACKAGES.into_iter().any(found),
            databases: databases::INTERFACES.into_iter().any(found),
            next: found(middleware::IMPORT),
        }
    }

    /// Whether the component passes requests on to what stands behind it.
    pub(in crate::wasm) fn passes_on(self) -> bool {
        self.next
    }

    /// Makes the HTTP client of a job. It is shut if the component imports none.
    pub(in crate::wasm) fn http(self, job: &Job, outbound: &Arc<dyn Outbound>) -> Http {
        if self.asks { Http::of(job, outbound) } else { Http::shut() }
    }

    /// Makes the state with which a job calls other jobs; `None` if the component imports no calls.
    pub(in crate::wasm) fn calling(self, job: &mut Job) -> Option<Box<Calling>> {
        self.calls.then(|| Box::new(Calling::of(job)))
    }

    /// Makes the same state for an instance that runs no job yet.
    pub(super) fn calling_nothing(self) -> Option<Box<Calling>> {
        self.calls.then(|| Box::new(Calling::nothing()))
    }

    /// Makes the state with which a job uses stores; `None` if the component imports nothing of the kind.
    pub(in crate::wasm) fn stores(self, job: &Job) -> Option<Box<GuestStores>> {
        self.stores.then(|| Box::new(GuestStores::of(job)))
    }

    /// Makes the state with which a job uses databases; `None` if the component imports nothing of the kind.
    pub(in crate::wasm) fn databases(self, job: &Job) -> Option<Box<GuestDatabases>> {
        self.databases.then(|| Box::new(GuestDatabases::of(job)))
    }
}

/// Makes the linker for the worlds `wasi:cli/command` and `wasi:http/proxy`, with our calls of jobs
/// added. It has nothing else.
///
/// The socket interfaces are linked because every wasm32-wasip2 program imports them. They are
/// shut: no address is allowed and no name is looked up.
pub(in crate::wasm) fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker: Linker<State> = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    open_guard::guard_components(&mut linker, |state: &mut State| &mut state.opened, tmp)?;
    links::guard_components(&mut linker, tmp)?;
    preview2::serve(&mut linker)?;
    // Every request is denied unless the handler's settings allow its origin.
    outbound::link(&mut linker)?;
    calls::link_component(&mut linker)?;
    stores::link_component(&mut linker)?;
    databases::link_component(&mut linker)?;
    telemetry::link(&mut linker)?;
    Ok(linker)
}

fn tmp(state: &mut State) -> Option<&mut Tmp> {
    state.tmp.as_deref_mut()
}

/// Resolves the imports of a component.
///
/// # Errors
/// It imports something that the daemon does not provide.
pub(in crate::wasm) fn link(linker: &Linker<State>, component: &Component) -> Result<InstancePre<State>> {
    linker.instantiate_pre(component).context(ABSENT)
}

/// Makes the store of an instance.
pub(in crate::wasm) fn store(
    engine: &Engine,
    mut wasi: Wasi,
    (meter, opened): (Meter, DescriptorCount),
    limits: &Limits,
    calls: Option<Box<Calling>>,
) -> Store<State> {
    let tmp = wasi.tmp.take();
    // The HTTP client is shut until there is a job.
    let (wasi, mut table, http) = (wasi.build(), ResourceTable::new(), Http::shut());
    handles::bound(&mut table, limits.handles);
    let pollables = Pollables::new(limits.handles);
    let (stores, databases, next) = (None, None, None);
    let state = State { wasi, table, meter, opened, tmp, http, pollables, calls, stores, databases, next };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.meter);
    guest::bound(&mut store, limits);
    store
}

/// Makes the store of an instance that is only made and runs no job.
pub(in crate::wasm) fn proof(engine: &Engine, wasi: Wasi, limits: &Limits, imports: Imports) -> Store<State> {
    store(engine, wasi, guest::unmetered(limits), limits, imports.calling_nothing())
}

/// Returns the outcome of a job whose store is about to be dropped.
pub(in crate::wasm) fn conclude(
    outcome: Result<()>,
    store: &Store<State>,
    limits: &Limits,
) -> std::result::Result<Status, Fault> {
    trap::conclude(outcome, &store.data().meter, limits.handles)
}

/// Returns the bytes of the memories and tables that an instance starts with; 0 if they are unknown.
pub(in crate::wasm) fn memory(instance: &InstancePre<State>) -> usize {
    instance.component().resources_required().as_ref().map_or(0, guest::initial)
}

/// Whether a component left anything unfinished after its response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::wasm) enum Leftover {
    Nothing,
    /// A body that is not finished, or a stream or task that is still held.
    Something,
}
