//! Makes the built-in jobs and registers them in the engine.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use tokio::time::Instant;
use tracing::{info, warn};

use super::hardening;
use super::memory::Total;
use super::operators::Operators;
use super::options::Options;
use crate::config::Config;
use crate::engine::{Engine, NativeJob};
use crate::http;
use crate::job::{BUILTIN, Name, OnDrain, Policy, Stop, builtin};
use crate::jobs::api::{
    Command, CommandsCommand, LogsCommand, PlanCommand, QueryCommand, ReloadCommand, ShutdownCommand,
    StoreDumpCommand, StoreLoadCommand, StoreSetCommand, SwapCommand, TapCommand, TrialCommand,
};
use crate::jobs::{
    AcceptConnections, Commands, DaemonState, DeleteEntries, DumpStore, Explain, Generations, GetEntry, Kill,
    ListHandlers, ListJobs, ListKeys, ListRoutes, ListStores, LoadStore, Loader, OperatorStores, Plan,
    Promote, QueryDatabase, Reload, ReopenLog, ReplyJob, Rollback, RunSchedules, ServeApi, SetEntry,
    SetLogLevel, Shutdown, Step, Swap, Tap, TellHistory, TellLogs, TellStatus, TellVersion, UpgradeJob,
    WatchTrial,
};
use crate::record::Store;
use crate::wasm::cache::Cache;
use crate::wasm::compile::Compiler;
use crate::wasm::{Allocation, Compilation, Resetting, Room, Sandbox, Stacks, WasiHttp03};

/// The parts of the daemon that its built-in jobs work on.
pub(super) struct Operating<'a> {
    pub(super) operators: &'a Operators,
    pub(super) stop: &'a Stop,
    pub(super) started: Instant,
    /// The memory limit of all jobs.
    pub(super) memory: &'a Total,
    /// The directories that handlers of the process before this one may write to.
    pub(super) left: Option<OwnedFd>,
}

/// Registers the built-in jobs.
///
/// # Errors
/// wasmtime cannot be started, a directory cannot be opened, or a job is registered already.
pub(super) fn install(
    engine: &Arc<Engine>,
    state: &Arc<DaemonState>,
    options: Options,
    operating: Operating<'_>,
) -> Result<()> {
    let Operating { operators, stop, started, memory, left } = operating;
    let config = state.config.load();
    let sandbox = sandbox(&config, memory)?;
    let allocation = sandbox.allocation().clone();
    let cached = sandbox.cache().cloned();
    let store = config.record_dir.as_deref().map(Store::open).transpose().context("record_dir")?;
    let (shown, told) = (options.progress, state.clone());
    let progress = move |step: Step<'_>| {
        match step {
            Step::Compiling(load, turn) => told.compiles(load, turn),
            Step::Ready(_) => {}
            Step::Ended(load) => told.has_compiled(load),
        }
        shown(step);
    };
    let loader = Loader::new(sandbox, Box::new(progress))
        .recording(store)
        .remembering(engine.history().clone())
        .within(state.server.scratch.clone())
        .sharing(engine.budgets().descriptors.clone())
        .after(left)?;
    let traces = engine.traces().clone();
    engine.on_shutdown(async move { traces.flush().await });
    let generations = Arc::new(Generations::new(loader));
    let status = TellStatus {
        state: state.clone(),
        generations: generations.clone(),
        admin: operators.admin(),
        observe: operators.observe(),
        allocation: allocation.to_string(),
        cache: cached.clone(),
        started,
        memory: memory.to_string(),
    };
    let reload = Arc::new(Reload {
        generations: generations.clone(),
        source: options.source,
        file: options.file,
        state: state.clone(),
        granted: options.hardened.granted.clone(),
    });
    let swap = Swap { generations: generations.clone() };
    let mut launch = options.launch;
    launch.env.extend(options.hardened.mark.map(|mark| (hardening::MARK, mark)));
    let upgrade = UpgradeJob {
        generations: generations.clone(),
        state: state.clone(),
        reload: reload.clone(),
        launch,
        stop: stop.clone(),
    };
    let watch = WatchTrial { generations: generations.clone(), gate: state.server.gate.clone() };
    let DaemonState { sockets, server, .. } = &**state;
    let gate = server.gate.clone();
    let serve_api = ServeApi::new(sockets.clone(), http::handlers(server.clone()));
    let serve_operators = operators.jobs(engine, server, (&allocation, &state.reloads, cached.as_ref()));
    let plan = Plan {
        generations: generations.clone(),
        state: state.clone(),
        overlay: options.overlay,
        granted: options.hardened.granted,
    };
    let schedules = RunSchedules { gate, followed: AtomicBool::default() };
    add::<ReloadCommand>(engine, reload)?;
    add::<PlanCommand>(engine, Arc::new(plan))?;
    add::<SwapCommand>(engine, Arc::new(swap))?;
    answer(engine, Arc::new(Rollback { generations: generations.clone() }))?;
    answer(engine, Arc::new(Promote { generations: generations.clone() }))?;
    add::<TrialCommand>(engine, Arc::new(watch))?;
    answer(engine, Arc::new(upgrade))?;
    add::<ShutdownCommand>(engine, Arc::new(Shutdown { stop: stop.clone() }))?;
    add::<QueryCommand>(engine, Arc::new(QueryDatabase))?;
    answer(engine, Arc::new(status))?;
    install_stores(
        engine,
        &Arc::new(OperatorStores { state: state.clone(), generations: generations.clone() }),
    )?;
    answer(engine, Arc::new(ListHandlers))?;
    answer(engine, Arc::new(ListRoutes))?;
    answer(engine, Arc::new(ListJobs))?;
    answer(engine, Arc::new(Kill))?;
    answer(engine, Arc::new(SetLogLevel))?;
    answer(engine, Arc::new(ReopenLog))?;
    answer(engine, Arc::new(TellHistory { state: state.clone() }))?;
    add::<LogsCommand>(engine, Arc::new(TellLogs))?;
    add::<TapCommand>(engine, Arc::new(Tap))?;
    answer(engine, Arc::new(Explain { state: state.clone() }))?;
    add::<CommandsCommand>(engine, Arc::new(Commands))?;
    answer(engine, Arc::new(TellVersion))?;
    let accept = AcceptConnections { state: state.clone() };
    engine.register(builtin::ACCEPT_CONNECTIONS, Policy::WORK, Arc::new(accept))?;
    let essential = Policy { is_essential: true, ..Policy::WORK };
    engine.register(builtin::SERVE_API, essential, Arc::new(serve_api))?;
    let attending = Policy { on_drain: OnDrain::Ignore, ..essential };
    for (name, job) in serve_operators {
        engine.register(name, attending, Arc::new(job))?;
    }
    // A drain waits for the jobs that it has started, but not for this one.
    engine.register(builtin::RUN_SCHEDULES, attending, Arc::new(schedules))?;
    debug_assert!(
        engine.registry().names().iter().map(Name::as_str).eq(BUILTIN),
        "BUILTIN lists what is registered"
    );
    Ok(())
}

/// Starts wasmtime for the jobs of a configuration. Logs if their memory costs more than it could.
///
/// # Errors
/// wasmtime does not run on this host.
fn sandbox(config: &Config, memory: &Total) -> Result<Sandbox> {
    let max = u32::try_from(config.jobs).context("jobs")?;
    let compilation = Compilation {
        compiler: Compiler::child(),
        cache: cache(config),
        stacks: Stacks::of(config.source_lines),
    };
    let largest = config.handlers.iter().map(|handler| handler.limits.memory).max().unwrap_or_default();
    let room = Room { jobs: max, memory: largest, warm: memory.warm() };
    let sandbox = Sandbox::new(room, compilation, WasiHttp03::of(config.wasi_http_03));
    let sandbox = sandbox.context("start wasmtime")?;
    match sandbox.allocation() {
        Allocation::Pooled(Resetting::Written) => {}
        Allocation::Pooled(Resetting::Whole) => info!(
            "all memory of a job is reset after it, which is slower: the kernel does not report written pages (needs Linux 6.7, no KSM)"
        ),
        Allocation::OnDemand(why) => {
            warn!(
                "the pool of instances cannot be reserved, each job gets fresh memory, which is slower: {why}"
            );
        }
    }
    Ok(sandbox)
}

/// Registers the jobs on stores.
fn install_stores(engine: &Arc<Engine>, stores: &Arc<OperatorStores>) -> Result<()> {
    let stores = || stores.clone();
    answer(engine, Arc::new(ListStores { stores: stores() }))?;
    answer(engine, Arc::new(ListKeys { stores: stores() }))?;
    answer(engine, Arc::new(GetEntry { stores: stores() }))?;
    add::<StoreSetCommand>(engine, Arc::new(SetEntry { stores: stores() }))?;
    answer(engine, Arc::new(DeleteEntries { stores: stores() }))?;
    add::<StoreDumpCommand>(engine, Arc::new(DumpStore { stores: stores() }))?;
    add::<StoreLoadCommand>(engine, Arc::new(LoadStore { stores: stores() }))
}

/// Registers the job that replies to a command.
fn answer<T: ReplyJob + NativeJob>(engine: &Arc<Engine>, job: Arc<T>) -> Result<()> {
    add::<T::Command>(engine, job)
}

/// Registers the job of a command.
fn add<C: Command>(engine: &Arc<Engine>, job: Arc<dyn NativeJob>) -> Result<()> {
    Ok(engine.register(C::NAME, C::POLICY, job)?)
}

/// Opens the cache of compiled modules. Without a cache the daemon starts slower, and logs why.
fn cache(config: &Config) -> Option<Cache> {
    config
        .cache_place()?
        .and_then(|place| Cache::open(&place, config.cache_size))
        .inspect_err(|refusal| warn!("compiled modules are not kept for the next start: {refusal:#}"))
        .ok()
}
