//! A guest before it runs: what its job gives it, and the bounds on its store.

use std::sync::Arc;

use tokio::task::yield_now;
use wasmtime::component::ResourceTable;
use wasmtime::{AsContextMut, ResourcesRequired, Store, UpdateDeadline, WasmBacktrace};
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiView as _};

use super::handles::{self, Opened};
use super::meter::{Meter, TABLE_ELEMENT};
use super::stdio::{Gone, Stdin, Stdout};
use super::tmp::Tmp;
use super::trap;
use crate::job::{Job, Limits, Needs, Output};
use crate::observe::profile;

/// Bytes that one call moves between a guest and the host where it cannot move a part: the strings and
/// lists of a component, for which this much is taken of the host while the call lasts. wasmtime's default
/// is 128 MiB.
const CALL: usize = 16 << 20;

/// What a guest is given, while it is put together.
pub(in crate::wasm) struct Wasi {
    /// All but the files.
    pub(in crate::wasm) rest: WasiCtxBuilder,
    files: WasiFilesystemCtx,
    /// The account of the last of those files, where it is the job's own.
    pub(in crate::wasm) tmp: Option<Box<Tmp>>,
}

impl Wasi {
    /// Starts with these files.
    pub(in crate::wasm) fn with(files: WasiFilesystemCtx) -> Wasi {
        let mut rest = WasiCtxBuilder::new();
        rest.max_random_size(CALL as u64);
        // They could be made and not be used: each would be a descriptor that no limit counts.
        rest.allow_tcp(false).allow_udp(false);
        Wasi { rest, files, tmp: None }
    }

    pub(in crate::wasm) fn build(mut self) -> WasiCtx {
        let mut wasi = self.rest.build();
        *wasi.filesystem() = self.files;
        wasi
    }

    pub(super) fn build_p1(mut self) -> WasiP1Ctx {
        let mut wasi = self.rest.build_p1();
        // Before the guest's first call, which makes descriptors of them.
        *wasi.ctx().ctx.filesystem() = self.files;
        wasi
    }
}

/// Starts with a guest that is given nothing: nothing is the daemon's own.
pub(in crate::wasm) fn bare() -> Wasi {
    Wasi::with(WasiFilesystemCtx::default())
}

/// Makes what counts the memory and the files of a job.
pub(in crate::wasm) fn metered(job: &mut Job) -> (Meter, Opened) {
    let (memory, descriptors) =
        job.allotment.take().map(|allotment| (allotment.memory, allotment.descriptors)).unzip();
    let meter = Meter::new(job.entry.limits.memory, job.usage.clone(), memory);
    (meter, Opened::new(descriptors, job.usage.clone()))
}

/// Makes what counts the memory of an instance that is no job's.
pub(in crate::wasm) fn unmetered(limits: &Limits) -> (Meter, Opened) {
    (Meter::new(limits.memory, Arc::default(), None), Opened::new(None, Arc::default()))
}

/// Returns the bytes that an instance is made with, or somewhat more: of its memories, as of its tables,
/// the largest is known, and how many there are.
pub(in crate::wasm) fn initial(resources: &ResourcesRequired) -> usize {
    let sum = |count: u32, largest: Option<u64>, size: usize| {
        let largest = usize::try_from(largest.unwrap_or(0)).unwrap_or(usize::MAX);
        largest.saturating_mul(size).saturating_mul(count as usize)
    };
    let memories = sum(resources.num_memories, resources.max_initial_memory_size, Needs::PAGE);
    memories.saturating_add(sum(resources.num_tables, resources.max_initial_table_size, TABLE_ELEMENT))
}

/// Gives a guest what its job holds.
pub(in crate::wasm) fn give(Wasi { rest: wasi, .. }: &mut Wasi, job: Job, gone: Gone) {
    give_words(wasi, &job);
    wasi.stdin(Stdin::new(job.stdin));
    wasi.stdout(Stdout::new(job.stdout, job.entry.limits.output, gone));
    // Unbounded here: the log takes so many lines a second, and the tail holds so many bytes.
    wasi.stderr(Stdout::new(job.stderr, u64::MAX, gone));
}

/// Gives a guest that answers HTTP what does not change from one request to the next. What it prints
/// is for the log, whichever stream it prints to: its response takes another way.
pub(in crate::wasm) fn give_to_proxy(Wasi { rest: wasi, .. }: &mut Wasi, log: Output, job: &Job) {
    give_words(wasi, job);
    let log = Stdout::new(log, u64::MAX, Gone::Closed);
    wasi.stdout(log.clone()).stderr(log);
}

/// Gives a guest its arguments and variables.
fn give_words(wasi: &mut WasiCtxBuilder, job: &Job) {
    wasi.arg(job.entry.name.as_str()).args(&job.args);
    for (name, value) in job.env.iter() {
        wasi.env(name, value);
    }
}

/// Puts the bounds on a store that hold for every kind of module.
pub(in crate::wasm) fn bound<S: Send>(
    store: &mut Store<S>,
    limits: &Limits,
    table: impl FnOnce(&mut S) -> &mut ResourceTable,
) {
    store.set_epoch_deadline(1);
    // A guest gives way at every tick, so that its neighbours run and its own limits are looked at.
    // Behind the sockets and timers as well: wasmtime's own yield wakes itself at once, and a worker
    // that always has somebody to run looks at them after 61 turns, which are 61 ticks.
    store.epoch_deadline_callback(|context| {
        if profile::is_due() {
            let stack = WasmBacktrace::force_capture(&context);
            profile::sample(trap::functions(&stack).into_iter());
        }
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(yield_now())))
    });
    store.set_hostcall_fuel(CALL);
    handles::bound_own(store, limits.handles);
    handles::bound(table(store.as_context_mut().data_mut()), limits.handles);
}
