//! The store data of a component's instance, which host functions work on.

use tokio::sync::mpsc;
use wasmtime::Result;
use wasmtime::component::ResourceTable;
use wasmtime::error::Context as _;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use super::calls::Calling;
use super::databases::GuestDatabases;
use super::handles::{self, DescriptorCount};
use super::memory_meter::Meter;
use super::outbound::Http;
use super::pollables::Pollables;
use super::stores::GuestStores;
use super::tmp::Tmp;
use crate::job::Proxied;

/// Everything that one instance owns.
pub(in crate::wasm) struct State {
    pub(in crate::wasm) wasi: WasiCtx,
    pub(in crate::wasm) table: ResourceTable,
    pub(in crate::wasm) meter: Meter,
    pub(in crate::wasm) opened: DescriptorCount,
    /// The account of the job's own `/tmp`; `None` if it has none.
    pub(in crate::wasm) tmp: Option<Box<Tmp>>,
    pub(in crate::wasm) http: Http,
    pub(in crate::wasm) pollables: Pollables,
    /// `None` if the component does not import the interface that calls jobs.
    pub(in crate::wasm) calls: Option<Box<Calling>>,
    /// `None` if the component imports no interface of stores, settings or messages, or runs no job.
    pub(in crate::wasm) stores: Option<Box<GuestStores>>,
    /// `None` if the component imports no interface of databases, or runs no job.
    pub(in crate::wasm) databases: Option<Box<GuestDatabases>>,
    /// Takes the requests that a middleware passes on. `None` if nothing stands behind it.
    pub(in crate::wasm) next: Option<mpsc::Sender<Proxied>>,
}

impl State {
    /// Returns the jobs that the guest calls.
    pub(in crate::wasm) fn calls(&mut self) -> Result<&mut Calling> {
        self.calls.as_deref_mut().context("the component imports no calls")
    }

    /// Returns the stores of the guest.
    pub(in crate::wasm) fn stores(&mut self) -> Result<&mut GuestStores> {
        self.stores.as_deref_mut().context("the component uses stores before it has a job")
    }

    /// Returns the databases of the guest.
    pub(in crate::wasm) fn databases(&mut self) -> Result<&mut GuestDatabases> {
        self.databases.as_deref_mut().context("the component uses databases before it has a job")
    }

    /// Notes how many handles the instance holds. A component that leaks handles has its maximum at the end.
    pub(in crate::wasm) fn note_handles(&mut self) {
        self.meter.usage().has_handles(handles::held_in(&mut self.table));
    }
}

/// Notes the handles of a cancelled job, too.
impl Drop for State {
    fn drop(&mut self) {
        self.note_handles();
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
