//! Command components: `wasm32-wasip2` programs that export `wasi:cli/run`.

use std::sync::Arc;

use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Result, Store, bail};
use wasmtime_wasi::p2::bindings::{Command, CommandPre};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::meter::Meter;
use super::{module, opening, trap};
use crate::job::{Fault, Job, Limits, Status};

/// What one job's instance owns.
pub(super) struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    meter: Meter,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// A compiled component with its imports resolved.
#[derive(Clone)]
pub struct CommandCode(CommandPre<State>);

/// Makes the linker that gives components the `wasi:cli/command` world, and nothing else.
///
/// Its socket interfaces are linked because every program built for wasm32-wasip2 imports them, but
/// they are shut: no address is allowed and no name is looked up.
pub(super) fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    opening::guard_components(&mut linker)?;
    Ok(linker)
}

impl CommandCode {
    /// Finds the entry point and the imports of a component.
    ///
    /// # Errors
    /// It lacks an entry point, or imports what the daemon does not have.
    pub(super) fn link(linker: &Linker<State>, component: &Component) -> Result<CommandCode> {
        let engine = linker.engine();
        let ty = component.component_type();
        if !ty.exports(engine).any(|(name, _)| name.starts_with("wasi:cli/run@0.2")) {
            let exports: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
            bail!(
                "exports no `wasi:cli/run`, so it is no command; it exports: {}",
                if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") }
            );
        }
        let instance = linker.instantiate_pre(component).context("imports what this daemon does not have")?;
        Ok(CommandCode(CommandPre::new(instance)?))
    }

    /// Runs one job in a fresh instance.
    pub(super) async fn run(&self, mut wasi: WasiCtxBuilder, job: Job) -> std::result::Result<Status, Fault> {
        let limits = job.entry.limits.clone();
        let memory = limits.memory;
        let meter = Meter::new(memory, job.usage.clone());
        module::give(&mut wasi, job);
        let mut store = self.store(wasi, meter, &limits);
        let outcome = self.start(&mut store).await;
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

    fn store(&self, mut wasi: WasiCtxBuilder, meter: Meter, limits: &Limits) -> Store<State> {
        let wasi = wasi.build();
        let state = State { wasi, table: ResourceTable::new(), meter };
        let mut store = Store::new(self.0.engine(), state);
        store.limiter(|state| &mut state.meter);
        module::bound(&mut store, limits, |state| &mut state.table);
        store
    }

    async fn start(&self, store: &mut Store<State>) -> Result<()> {
        let command: Command = self.0.instantiate_async(&mut *store).await?;
        match command.wasi_cli_run().call_run(&mut *store).await? {
            Ok(()) => Ok(()),
            // The command said "failed" without a number: that is exit status 1.
            Err(()) => Err(wasmtime::Error::new(wasmtime_wasi::I32Exit(1))),
        }
    }
}
