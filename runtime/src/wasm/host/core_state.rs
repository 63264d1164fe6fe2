//! The store data of a core module's instance, which host functions work on.

use wasmtime::error::Context as _;
use wasmtime::{Caller, Memory, ModuleExport, Result};

use super::calls::{Calling, LastError};
use super::core_wasi::CoreWasi;
use super::databases::GuestDatabases;
use super::directory::LastListing;
use super::handles::DescriptorCount;
use super::memory_meter::Meter;
use super::stores::GuestStores;
use super::tmp::Tmp;
use crate::job::Env;

/// Everything that the instance of one job owns.
pub(in crate::wasm) struct State {
    pub(in crate::wasm) wasi: CoreWasi,
    /// The export `memory` of the module, if it has one.
    memory: Option<ModuleExport>,
    /// The memory behind that export, once a host function has used it.
    used_memory: Option<Memory>,
    /// The directory that the guest read last.
    pub(in crate::wasm) listing: LastListing,
    /// The maximum number of handles.
    pub(in crate::wasm) handles: usize,
    pub(in crate::wasm) env: Env,
    pub(in crate::wasm) meter: Meter,
    pub(in crate::wasm) opened: DescriptorCount,
    /// The account of the job's own `/tmp`; `None` if it has none.
    pub(in crate::wasm) tmp: Option<Box<Tmp>>,
    /// `None` if the module does not import the functions that call jobs.
    pub(in crate::wasm) calls: Option<Box<(Calling, LastError)>>,
    /// `None` if the module does not import the functions that use stores.
    pub(in crate::wasm) stores: Option<Box<GuestStores>>,
    /// `None` if the module does not import the functions that use databases.
    pub(in crate::wasm) databases: Option<Box<GuestDatabases>>,
}

/// What an instance gets for its imports beside WASI, each if the module imports the functions.
#[derive(Default)]
pub(in crate::wasm) struct ImportGrants {
    pub(in crate::wasm) calls: Option<Box<(Calling, LastError)>>,
    pub(in crate::wasm) stores: Option<Box<GuestStores>>,
    pub(in crate::wasm) databases: Option<Box<GuestDatabases>>,
}

impl State {
    pub(in crate::wasm) fn new(
        mut wasi: CoreWasi,
        memory: Option<ModuleExport>,
        env: Env,
        (meter, opened, handles): (Meter, DescriptorCount, usize),
        ImportGrants { calls, stores, databases }: ImportGrants,
    ) -> State {
        let mut tmp = wasi.take_tmp();
        if let Some(tmp) = &mut tmp {
            // wasmtime-wasi numbers preopened directories from 3, after the streams of stdio.
            tmp.hold_dir(u32::try_from(3 + tmp.place()).unwrap_or(u32::MAX));
        }
        State {
            wasi,
            memory,
            used_memory: None,
            listing: LastListing::default(),
            handles,
            env,
            meter,
            opened,
            tmp,
            calls,
            stores,
            databases,
        }
    }

    /// Returns the stores of the guest.
    pub(in crate::wasm) fn stores(&mut self) -> Result<&mut GuestStores> {
        self.stores.as_deref_mut().context("the module imports no stores")
    }

    /// Returns the databases of the guest.
    pub(in crate::wasm) fn databases(&mut self) -> Result<&mut GuestDatabases> {
        self.databases.as_deref_mut().context("the module imports no databases")
    }

    /// Returns the jobs that the guest calls, and its last error.
    pub(in crate::wasm) fn calls(&mut self) -> Result<(&mut Calling, &mut LastError)> {
        let calls = self.calls.as_deref_mut().context("the module imports no calls")?;
        Ok((&mut calls.0, &mut calls.1))
    }
}

/// Returns the guest's memory for a function of this import module.
///
/// # Errors
/// The guest exports no memory called `memory`.
pub(in crate::wasm) fn memory_for(caller: &mut Caller<'_, State>, module: &str) -> Result<Memory> {
    memory(caller).with_context(|| format!("{module}: the module exports no memory called `memory`"))
}

/// Returns the guest's memory. `None` if it exports no memory called `memory`.
pub(in crate::wasm) fn memory(caller: &mut Caller<'_, State>) -> Option<Memory> {
    let state = caller.data();
    if let Some(memory) = state.used_memory {
        return Some(memory);
    }
    // By its place in the module: a name would be hashed twice.
    let export = state.memory?;
    let memory = caller.get_module_export(&export)?.into_memory()?;
    // A store has one instance, whose exports stay the same.
    caller.data_mut().used_memory = Some(memory);
    Some(memory)
}
