//! The store data of a core module's instance, which host functions work on.

use wasmtime::Result;
use wasmtime::error::Context as _;
use wasmtime_wasi::p1::WasiP1Ctx;

use super::calls::{Calling, LastError};
use super::databases::GuestDatabases;
use super::directory::LastListing;
use super::guest::Wasi;
use super::handles::DescriptorCount;
use super::memory_meter::Meter;
use super::stores::GuestStores;
use super::tmp::Tmp;
use crate::job::Env;

/// Everything that the instance of one job owns.
pub(in crate::wasm) struct State {
    pub(in crate::wasm) wasi: WasiP1Ctx,
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

impl State {
    pub(in crate::wasm) fn new(
        mut wasi: Wasi,
        env: Env,
        (meter, opened, handles): (Meter, DescriptorCount, usize),
        calls: Option<Box<(Calling, LastError)>>,
        stores: Option<Box<GuestStores>>,
    ) -> State {
        let mut tmp = wasi.tmp.take();
        if let Some(tmp) = &mut tmp {
            // wasmtime-wasi numbers preopened directories from 3, after the streams of stdio.
            tmp.hold_dir(u32::try_from(3 + tmp.place()).unwrap_or(u32::MAX));
        }
        State {
            wasi: wasi.build_p1(),
            listing: LastListing::default(),
            handles,
            env,
            meter,
            opened,
            tmp,
            calls,
            stores,
            databases: None,
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
