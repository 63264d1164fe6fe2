//! A handler that is a WebAssembly module: code, and what it is granted.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use tokio::task::yield_now;
use tokio::time::timeout;
use wasmtime::component::ResourceTable;
use wasmtime::{AsContextMut, ResourcesRequired, Store, UpdateDeadline, WasmBacktrace};
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiView as _};

use super::host::files::Files;
use super::host::handles::Opened;
use super::host::meter::{Meter, TABLE_ELEMENT};
use super::host::stdio::{Gone, Stdin, Stdout};
use super::host::tmp::{Tmp, TmpGuard};
use super::host::{handles, trap};
use super::kinds::http::Warm;
use super::kinds::instance_pool::Idle;
use super::sandbox::Code;
use crate::job::{Fault, Handler, Job, Kind, Limits, Mount, Needs, Outbound, Output, Run, Status, Usage};
use crate::observe::profile;

/// Bytes that one call moves between a guest and the host where it cannot move a part: the strings and
/// lists of a component, for which this much is taken of the host while the call lasts. wasmtime's default
/// is 128 MiB.
const CALL: usize = 16 << 20;

/// A module as a handler.
pub struct Module {
    /// What runs.
    pub code: Code,
    /// What it sees of the host's files, if anything.
    pub files: Option<Files>,
    /// What carries out its requests to other servers.
    outbound: Arc<dyn Outbound>,
    /// Instances that answer more than one request, if it has such.
    idle: Option<Idle<Warm>>,
    /// Bytes of the first memories and tables of an instance.
    memory: usize,
}

impl Module {
    /// Makes a handler of code. With `reuse`, an instance of a component that answers HTTP and sees no files
    /// answers so many requests, one after the other.
    pub fn new(
        code: Code,
        files: Option<Files>,
        outbound: Arc<dyn Outbound>,
        reuse: Option<NonZeroU32>,
    ) -> Module {
        let idle = match (&code, reuse) {
            (Code::Speaker(code), Some(requests)) if files.is_none() => Some(code.idle(requests)),
            (Code::Core(_) | Code::Command(_) | Code::Speaker(_), _) => None,
        };
        let memory = match &code {
            Code::Core(code) => code.memory(),
            Code::Command(code) => code.memory(),
            Code::Speaker(code) => code.memory(),
        };
        Module { code, files, outbound, idle, memory }
    }

    /// Says what the module is made of.
    pub fn kind(&self) -> Kind {
        self.code.kind()
    }

    /// Runs a job with the files it is granted.
    async fn run_with_files(&self, files: &Files, job: Job) -> Result<Status, Fault> {
        let usage = job.usage.clone();
        let threads = files.lease()?;
        let run = async |mut job: Job| {
            files.direct(&mut job).await?;
            let (wasi, own) = files.grant(&threads, job.allotment.as_mut()).await?;
            let outcome = self.run_with(|| wasi, job).await;
            give_back(own, &usage).await;
            outcome
        };
        threads.run(usage.clone(), run(job)).await
    }

    async fn run_with(&self, wasi: impl FnOnce() -> Wasi, job: Job) -> Result<Status, Fault> {
        match &self.code {
            Code::Core(code) => code.run(wasi(), job).await,
            Code::Command(code) => code.run(wasi(), &self.outbound, job).await,
            Code::Speaker(code) => code.run(wasi, &self.outbound, self.idle.as_ref(), job).await,
        }
    }

    async fn prove_with(&self, wasi: Wasi, limits: &Limits) -> Result<(), Fault> {
        match &self.code {
            Code::Core(code) => code.prove(wasi, limits).await,
            Code::Command(code) => code.prove(wasi, limits).await,
            Code::Speaker(code) => code.prove(wasi, limits).await,
        }
    }
}

/// Takes back what a job had to itself.
async fn give_back(own: Option<TmpGuard>, usage: &Usage) {
    if let Some(own) = own {
        own.end(&usage.waits).await;
    }
}

/// How long a module may take before its entry point is reached: it has nothing to wait for.
const PROOF: Duration = Duration::from_secs(5);

impl Handler for Module {
    fn run(self: Arc<Self>, job: Job) -> Run {
        Box::pin(async move {
            // A future is as large as the largest it waits for, and is copied to where it stays: those
            // of the other ways are boxed by themselves, so that the shortest one is not copied as
            // they would be.
            match (&self.code, &self.files) {
                (Code::Core(code), None) => code.run(bare(), job).await,
                (_, None) => Box::pin(self.run_with(bare, job)).await,
                (_, Some(files)) => Box::pin(self.run_with_files(files, job)).await,
            }
        })
    }

    fn reuse(&self) -> Option<NonZeroU32> {
        self.idle.as_ref().map(Idle::requests)
    }

    fn needs(&self, limits: &Limits) -> Needs {
        // One that waits has its memory already.
        let waits = self.idle.as_ref().is_some_and(Idle::has_some);
        Needs {
            // One that wants more than it may have is told so when it is made.
            memory: if waits { 0 } else { self.memory.min(limits.memory) },
            descriptors: self.files.as_ref().map_or(0, Files::needs),
        }
    }

    fn mounts(&self) -> &[Mount] {
        self.files.as_ref().map_or(&[], Files::mounts)
    }

    fn tmp(&self) -> Option<u64> {
        self.files.as_ref().and_then(Files::own_bytes)
    }

    fn outbound(&self) -> Option<&dyn Outbound> {
        Some(&*self.outbound)
    }

    fn prove(self: Arc<Self>, limits: Limits) -> BoxFuture<'static, anyhow::Result<()>> {
        Box::pin(async move {
            let proof = async {
                let Some(files) = &self.files else {
                    return self.prove_with(bare(), &limits).await;
                };
                let (threads, usage) = (files.lease()?, Arc::<Usage>::default());
                let within = async {
                    let (wasi, own) = files.grant(&threads, None).await?;
                    let outcome = self.prove_with(wasi, &limits).await;
                    give_back(own, &usage).await;
                    outcome
                };
                threads.run(usage.clone(), within).await
            };
            match timeout(PROOF, proof).await {
                Ok(outcome) => outcome.context("cannot be instantiated"),
                Err(_) => {
                    anyhow::bail!("cannot be instantiated: its start function does not end within {PROOF:?}")
                }
            }
        })
    }
}

/// What a guest is given, while it is put together.
pub(super) struct Wasi {
    /// All but the files.
    pub(super) rest: WasiCtxBuilder,
    files: WasiFilesystemCtx,
    /// The account of the last of those files, where it is the job's own.
    pub(super) tmp: Option<Box<Tmp>>,
}

impl Wasi {
    /// Starts with these files.
    pub(super) fn with(files: WasiFilesystemCtx) -> Wasi {
        let mut rest = WasiCtxBuilder::new();
        rest.max_random_size(CALL as u64);
        // They could be made and not be used: each would be a descriptor that no limit counts.
        rest.allow_tcp(false).allow_udp(false);
        Wasi { rest, files, tmp: None }
    }

    pub(super) fn build(mut self) -> WasiCtx {
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
pub(super) fn bare() -> Wasi {
    Wasi::with(WasiFilesystemCtx::default())
}

/// Makes what counts the memory and the files of a job.
pub(super) fn metered(job: &mut Job) -> (Meter, Opened) {
    let (memory, descriptors) =
        job.allotment.take().map(|allotment| (allotment.memory, allotment.descriptors)).unzip();
    let meter = Meter::new(job.entry.limits.memory, job.usage.clone(), memory);
    (meter, Opened::new(descriptors, job.usage.clone()))
}

/// Makes what counts the memory of an instance that is no job's.
pub(super) fn unmetered(limits: &Limits) -> (Meter, Opened) {
    (Meter::new(limits.memory, Arc::default(), None), Opened::new(None, Arc::default()))
}

/// Returns the bytes that an instance is made with, or somewhat more: of its memories, as of its tables,
/// the largest is known, and how many there are.
pub(super) fn initial(resources: &ResourcesRequired) -> usize {
    let sum = |count: u32, largest: Option<u64>, size: usize| {
        let largest = usize::try_from(largest.unwrap_or(0)).unwrap_or(usize::MAX);
        largest.saturating_mul(size).saturating_mul(count as usize)
    };
    let memories = sum(resources.num_memories, resources.max_initial_memory_size, Needs::PAGE);
    memories.saturating_add(sum(resources.num_tables, resources.max_initial_table_size, TABLE_ELEMENT))
}

/// Gives a guest what its job holds.
pub(super) fn give(Wasi { rest: wasi, .. }: &mut Wasi, job: Job, gone: Gone) {
    give_words(wasi, &job);
    wasi.stdin(Stdin::new(job.stdin));
    wasi.stdout(Stdout::new(job.stdout, job.entry.limits.output, gone));
    // Unbounded here: the log takes so many lines a second, and the tail holds so many bytes.
    wasi.stderr(Stdout::new(job.stderr, u64::MAX, gone));
}

/// Gives a guest that answers HTTP what does not change from one request to the next. What it prints
/// is for the log, whichever stream it prints to: its response takes another way.
pub(super) fn give_to_proxy(Wasi { rest: wasi, .. }: &mut Wasi, log: Output, job: &Job) {
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
pub(super) fn bound<S: Send>(
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
