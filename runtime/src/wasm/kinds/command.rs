//! Command components, the `wasm32-wasip2` programs that export `wasi:cli/run`.

use std::sync::Arc;

use wasmtime::component::{Component, Linker};
use wasmtime::{Result, Store};
use wasmtime_wasi::p2::bindings::{Command, CommandPre};

use super::component::{self, Imports};
use crate::job::{Fault, Job, Limits, Outbound, Status};
use crate::wasm::host::component_state::State;
use crate::wasm::host::guest::{self, Wasi};

/// A compiled component with its imports resolved.
#[derive(Clone)]
pub struct CommandCode {
    command: CommandPre<State>,
    imports: Imports,
}

impl CommandCode {
    /// Resolves the imports of a component.
    ///
    /// # Errors
    /// It imports something that the daemon does not provide.
    pub(in crate::wasm) fn link(linker: &Linker<State>, component: &Component) -> Result<CommandCode> {
        let command = CommandPre::new(component::link(linker, component)?)?;
        Ok(CommandCode { command, imports: Imports::of(component) })
    }

    /// Runs one job in a fresh instance.
    pub(in crate::wasm) async fn run(
        &self,
        mut wasi: Wasi,
        outbound: &Arc<dyn Outbound>,
        mut job: Box<Job>,
    ) -> std::result::Result<Status, Fault> {
        let limits = job.entry.limits.clone();
        let metered = guest::metered(&mut job);
        let calls = self.imports.calling(&mut job);
        let http = self.imports.http(&job, outbound);
        let (stores, databases) = (self.imports.stores(&job), self.imports.databases(&job));
        guest::give(&mut wasi, job);
        let mut store = component::store(self.command.engine(), wasi, metered, &limits, calls);
        let state = store.data_mut();
        (state.http, state.stores, state.databases) = (http, stores, databases);
        let outcome = self.start(&mut store).await;
        component::conclude(outcome, &store, &limits)
    }

    /// Instantiates the component and checks the type of its entry point. Runs nothing but start functions.
    pub(in crate::wasm) async fn prove(&self, wasi: Wasi, limits: &Limits) -> std::result::Result<(), Fault> {
        let mut store = component::proof(self.command.engine(), wasi, limits, self.imports);
        let outcome = self.command.instantiate_async(&mut store).await.map(drop);
        component::conclude(outcome, &store, limits).map(drop)
    }

    /// Returns the bytes of the memories and tables that an instance starts with.
    pub(in crate::wasm) fn memory(&self) -> usize {
        component::memory(self.command.instance_pre())
    }

    async fn start(&self, store: &mut Store<State>) -> Result<()> {
        let command: Command = self.command.instantiate_async(&mut *store).await?;
        store.data().meter.usage().timing.ready();
        match command.wasi_cli_run().call_run(&mut *store).await? {
            Ok(()) => Ok(()),
            // The command reported failure without a number: exit status 1.
            Err(()) => Err(wasmtime::Error::new(wasmtime_wasi::I32Exit(1))),
        }
    }
}
