//! Prepares a guest: its WASI context from a job, and the bounds on its store.

use std::sync::Arc;

use tokio::task::yield_now;
use wasmtime::{ResourcesRequired, Store, UpdateDeadline, WasmBacktrace};
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiView as _};

use super::call_size;
use super::handles::{self, DescriptorCount};
use super::memory_meter::{Meter, TABLE_ELEMENT};
use super::stdio::{GoneReader, Stdin, Stdout};
use super::tmp::Tmp;
use super::trap;
use crate::job::{Job, Limits, Needs, Output};
use crate::observe::profile;

/// The WASI context of a guest, under construction.
pub(in crate::wasm) struct Wasi {
    /// Everything but the files. `None` until something of it is needed.
    rest: Option<Box<WasiCtxBuilder>>,
    /// The preopened directories. `None` without grants.
    files: Option<WasiFilesystemCtx>,
    /// The account of the job's own `/tmp`, the last of the preopened directories, if it has one.
    pub(in crate::wasm) tmp: Option<Box<Tmp>>,
}

impl Wasi {
    /// Starts a context with these preopened directories.
    pub(in crate::wasm) fn with(files: WasiFilesystemCtx) -> Wasi {
        Wasi { rest: None, files: Some(files), tmp: None }
    }

    /// Reports whether it has preopened directories.
    pub(super) fn has_files(&self) -> bool {
        self.files.is_some()
    }

    /// Returns the builder of everything but the files.
    pub(super) fn builder(&mut self) -> &mut WasiCtxBuilder {
        self.rest.get_or_insert_with(|| {
            let mut rest = Box::new(WasiCtxBuilder::new());
            rest.max_random_size(call_size::MOST as u64);
            // Otherwise a guest could make sockets and never use them, and no limit counts their descriptors.
            rest.allow_tcp(false).allow_udp(false);
            rest
        })
    }

    pub(in crate::wasm) fn build(mut self) -> WasiCtx {
        let mut wasi = self.builder().build();
        if let Some(files) = self.files {
            *wasi.filesystem() = files;
        }
        wasi
    }

    /// Makes the context of a core module. Can be called once.
    pub(super) fn build_p1(&mut self) -> WasiP1Ctx {
        let mut wasi = self.builder().build_p1();
        // A builder builds once.
        self.rest = None;
        // Before the guest's first call, which turns them into descriptors.
        if let Some(files) = self.files.take() {
            *wasi.ctx().ctx.filesystem() = files;
        }
        wasi
    }
}

/// Starts a context without any grants. It inherits nothing from the daemon.
pub(in crate::wasm) fn bare() -> Wasi {
    Wasi { rest: None, files: None, tmp: None }
}

/// Makes the meters of a job's memory and descriptors.
pub(in crate::wasm) fn metered(job: &mut Job) -> (Meter, DescriptorCount) {
    let (memory, descriptors) =
        job.allotment.take().map(|allotment| (allotment.memory, allotment.descriptors)).unzip();
    let meter = Meter::new(job.entry.limits.memory, job.usage.clone(), memory);
    (meter, DescriptorCount::new(descriptors, job.usage.clone()))
}

/// Makes meters for an instance that runs no job: its memory is bounded, but charged to no account.
pub(in crate::wasm) fn unmetered(limits: &Limits) -> (Meter, DescriptorCount) {
    (Meter::new(limits.memory, Arc::default(), None), DescriptorCount::new(None, Arc::default()))
}

/// Returns an upper bound of the bytes that an instance starts with. Only the number of memories and the
/// largest size are known, and the same of tables.
pub(in crate::wasm) fn initial(resources: &ResourcesRequired) -> usize {
    let sum = |count: u32, largest: Option<u64>, size: usize| {
        let largest = usize::try_from(largest.unwrap_or(0)).unwrap_or(usize::MAX);
        largest.saturating_mul(size).saturating_mul(count as usize)
    };
    let memories = sum(resources.num_memories, resources.max_initial_memory_size, Needs::PAGE);
    memories.saturating_add(sum(resources.num_tables, resources.max_initial_table_size, TABLE_ELEMENT))
}

/// Gives a command the arguments, variables and streams of its job.
pub(in crate::wasm) fn give(wasi: &mut Wasi, job: Box<Job>) {
    give_words(wasi, &job);
    let stdout = Stdout::new(job.stdout, job.entry.limits.output, GoneReader::Closed);
    let stderr = Stdout::new(job.stderr, UNBOUNDED, GoneReader::Closed);
    wasi.builder().stdin(Stdin::new(job.stdin)).stdout(stdout).stderr(stderr);
}

/// The maximum of stderr: the log limits lines a second, and the stderr tail has a size of its own.
pub(super) const UNBOUNDED: u64 = u64::MAX;

/// Gives an HTTP component what stays the same for all requests. Its stdout and stderr both go to the log;
/// the response has a path of its own.
pub(in crate::wasm) fn give_to_proxy(wasi: &mut Wasi, log: Output, job: &Job) {
    give_words(wasi, job);
    let log = Stdout::new(log, UNBOUNDED, GoneReader::Closed);
    wasi.builder().stdout(log.clone()).stderr(log);
}

/// Sets the guest's arguments and variables.
fn give_words(wasi: &mut Wasi, job: &Job) {
    give_arguments(wasi, job);
    let wasi = wasi.builder();
    for (name, value) in job.env.iter() {
        wasi.env(name, value);
    }
}

/// Sets the guest's arguments.
pub(in crate::wasm) fn give_arguments(wasi: &mut Wasi, job: &Job) {
    wasi.builder().arg(job.entry.name.as_str()).args(&job.args);
}

/// Sets the bounds on a store that hold for every kind of module. The table of its state is bounded apart.
pub(in crate::wasm) fn bound<S: Send>(store: &mut Store<S>, limits: &Limits) {
    store.set_epoch_deadline(1);
    // A guest yields at every tick, so that other jobs run and its own limits are checked. `tokio`'s yield
    // also lets the worker poll sockets and timers. wasmtime's own yield wakes itself at once. A worker
    // that is never idle polls them only every 61 turns, which would be 61 ticks.
    store.epoch_deadline_callback(|context| {
        if profile::is_due() {
            let stack = WasmBacktrace::force_capture(&context);
            profile::sample(trap::functions(&stack).into_iter());
        }
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(yield_now())))
    });
    store.set_hostcall_fuel(call_size::MOST);
    handles::bound_own(store, limits.handles);
}
