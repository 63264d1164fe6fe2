//! The functions that make and drop pollables, which are counted apart from other handles.

use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::clocks::WasiClocksView as _;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::Host as _;
use wasmtime_wasi::p2::bindings::io::poll::HostPollable;
use wasmtime_wasi::p2::bindings::io::streams::{HostInputStream, HostOutputStream};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable};

use crate::wasm::host::component_state::State;
use crate::wasm::host::handles;
use crate::wasm::host::interfaces::{CLOCK, POLL, STREAMS};
use crate::wasm::host::pollables::Pollables;

/// Links the functions that make pollables in large numbers, and the drop of pollables.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    let dropped = |mut store: StoreContextMut<'_, State>, pollable| {
        let state = store.data_mut();
        HostPollable::drop(state.ctx().table, Resource::new_own(pollable))?;
        if let Some(entries) = state.pollables.counted.remove(&pollable) {
            state.pollables.entries -= entries;
            state.bound_handles();
        }
        Ok(())
    };
    linker.instance(POLL)?.resource("pollable", ResourceType::host::<DynPollable>(), dropped)?;
    let mut streams = linker.instance(STREAMS)?;
    streams.func_wrap(
        "[method]input-stream.subscribe",
        |mut store: StoreContextMut<'_, State>, (stream,): (Resource<DynInputStream>,)| {
            let made =
                store.data_mut().poll(1, |state| HostInputStream::subscribe(state.ctx().table, stream));
            Ok((made?,))
        },
    )?;
    streams.func_wrap(
        "[method]output-stream.subscribe",
        |mut store: StoreContextMut<'_, State>, (stream,): (Resource<DynOutputStream>,)| {
            let made =
                store.data_mut().poll(1, |state| HostOutputStream::subscribe(state.ctx().table, stream));
            Ok((made?,))
        },
    )?;
    let mut clock = linker.instance(CLOCK)?;
    clock.func_wrap("subscribe-instant", |mut store: StoreContextMut<'_, State>, (when,): (u64,)| {
        Ok((store.data_mut().poll(2, |state| state.clocks().subscribe_instant(when))?,))
    })?;
    clock.func_wrap("subscribe-duration", |mut store: StoreContextMut<'_, State>, (time,): (u64,)| {
        Ok((store.data_mut().poll(2, |state| state.clocks().subscribe_duration(time))?,))
    })
}

impl State {
    /// Makes a pollable that takes `entries` table entries. They extend the bound on the
    /// component's handles, unless too many pollables exist.
    fn poll(
        &mut self,
        entries: usize,
        make: impl FnOnce(&mut State) -> Result<Resource<DynPollable>>,
    ) -> Result<Resource<DynPollable>> {
        if self.pollables.entries + entries > handles::pollables(self.pollables.handles) {
            return make(self);
        }
        self.pollables.entries += entries;
        self.bound_handles();
        // No rollback is needed: a failure ends the component.
        let made = make(self)?;
        self.pollables.counted.insert(made.rep(), entries);
        Ok(made)
    }

    fn bound_handles(&mut self) {
        let Pollables { handles, entries, .. } = self.pollables;
        handles::bound(&mut self.table, handles + entries);
    }
}
