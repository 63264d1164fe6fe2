//! What the instance of a component owns, which functions of the host reach.

use wasmtime::Result;
use wasmtime::component::ResourceTable;
use wasmtime::error::Context as _;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use super::calls::Calling;
use super::handles::{self, Opened};
use super::meter::Meter;
use super::outbound::Http;
use super::pollables::Pollables;
use super::tmp::Tmp;

/// What one instance owns.
pub(in crate::wasm) struct State {
    pub(in crate::wasm) wasi: WasiCtx,
    pub(in crate::wasm) table: ResourceTable,
    pub(in crate::wasm) meter: Meter,
    pub(in crate::wasm) opened: Opened,
    /// The account of the directory that the job has to itself, if it has.
    pub(in crate::wasm) tmp: Option<Box<Tmp>>,
    pub(in crate::wasm) http: Http,
    pub(in crate::wasm) pollables: Pollables,
    /// None: the component does not import what calls jobs.
    pub(in crate::wasm) calls: Option<Box<Calling>>,
}

impl State {
    /// Returns what the guest has to do with jobs it calls.
    pub(in crate::wasm) fn calls(&mut self) -> Result<&mut Calling> {
        self.calls.as_deref_mut().context("the component imports no calls")
    }

    /// Notes how many handles it holds. At the end of an answer that is the most that it held, of a component that lets
    /// them pile up.
    pub(in crate::wasm) fn note_handles(&mut self) {
        self.meter.usage().has_handles(handles::held_in(&mut self.table));
    }
}

/// Also of a job that was cut short.
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
