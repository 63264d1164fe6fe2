//! The life of the daemon: bind, load, open, wait, drain.

mod admin;
mod signals;

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use arc_swap::ArcSwap;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use crate::config::{self, CacheDir, Config};
use crate::engine::{Engine, Failure};
use crate::http::{Activity, Purpose, Server};
use crate::job::{Name, Stop, StopReason, Tenure};
use crate::jobs::{
    self, AcceptConnections, BUILTIN, Commands, Explain, Generations, Kill, ListHandlers, ListJobs,
    ListRoutes, Loader, Overlay, Plan, Progress, Reload, Rollback, ServeApi, Shutdown, Source, Standing,
    Swap, TellLogs, TellStatus, Version, WatchCanary,
};
use crate::net::{Activation, BindOptions, Gate, Leave, Sockets};
use crate::observe::systemd;
use crate::wasm::cache::{Cache, Place};
use crate::wasm::compile::Compiler;
use crate::wasm::{Allocation, Compilation, Sandbox};
use admin::Admin;
use signals::{Sent, Signals};

/// What a daemon is started with.
pub struct Options {
    /// Reads the configuration, flags applied. Called at the start and for every reload.
    pub source: Source,
    /// Puts the flags over a configuration that was read elsewhere.
    pub overlay: Overlay,
    /// Is told of every module that is compiled.
    pub progress: Progress,
}

/// A daemon that has bound its sockets and opened its gate.
pub struct Daemon {
    /// Where jobs are made and run.
    pub engine: Arc<Engine>,
    /// Ends the daemon when it is raised.
    pub stop: Stop,
    standing: Arc<Standing>,
    admin: Admin,
    serving: JoinHandle<Result<(), Failure>>,
    signals: Signals,
    closing: Closing,
    /// Ends with the daemon.
    reporting: JoinSet<()>,
}

/// How a daemon ended that did not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Everything that had begun was finished.
    Drained,
    /// The grace period was over before everything was finished.
    CutOff,
    /// A second signal, of this number, ended everything at once.
    Signalled(u8),
}

/// Closes the sockets when it is dropped: the jobs that hold them outlive every way out.
struct Closing(Arc<Standing>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.sockets.close(Leave::AtOnce);
    }
}

impl Daemon {
    /// Binds, loads and opens, in this order: clients that connect meanwhile wait in the kernel. A
    /// signal to end that comes meanwhile is not kept waiting: before there are sockets there is no
    /// daemon, after that `run` drains at once.
    ///
    /// # Errors
    /// A bad configuration, an address that cannot be bound, a module that cannot be a handler. What
    /// was bound is unbound.
    pub async fn start(options: Options) -> Result<Option<Daemon>> {
        // First: until then a signal would end us with our sockets left behind.
        let mut signals = Signals::listen()?;
        let started = Instant::now();
        let source = options.source.clone();
        // Apart: reading a file and looking up a name wait for others, who may not answer.
        let binding = tokio::task::spawn_blocking(move || bind(&source));
        let Bound { config, sockets, admin } = tokio::select! {
            bound = binding => bound??,
            _ = signals.end() => return Ok(None),
        };
        let stop = Stop::new();
        let engine = Engine::new(config.jobs);
        let mut admin = Admin::new(admin);
        let server = Arc::new(Server {
            engine: engine.clone(),
            gate: Gate::shut(),
            settings: Arc::new(ArcSwap::from_pointee(jobs::settings(&config))),
            connections: Arc::new(Semaphore::new(connections(&config))),
            purpose: Purpose::Handlers,
            activity: Activity::default(),
        });
        let config = ArcSwap::from_pointee(config);
        let standing = Arc::new(Standing { config, sockets: Arc::new(sockets), server });
        let closing = Closing(standing.clone());
        let operating = Operating { admin: &admin, stop: &stop, started };
        install(&engine, &standing, options, operating)?;

        admin.serve(&engine)?;
        let serving = engine.spawn(engine.job("serveapi")?);
        let mut reporting = JoinSet::new();
        reporting.spawn(standing.clone().report());
        tokio::select! {
            opened = open(&engine) => opened?,
            _ = signals.end() => stop.raise(StopReason::Shutdown),
        }
        Ok(Some(Daemon { engine, stop, standing, admin, serving, signals, closing, reporting }))
    }

    /// Returns the addresses as they are bound, port 0 resolved.
    pub fn listening(&self) -> Vec<String> {
        self.standing.sockets.listeners().iter().map(|listener| listener.local().to_owned()).collect()
    }

    /// Waits for a signal to end, then drains: no new connections, at most the grace period for the
    /// requests under way. A second signal ends at once. SIGHUP reloads.
    ///
    /// # Errors
    /// Serving failed.
    pub async fn run(mut self) -> Result<Exit> {
        /// One that runs and one that comes after it, and so sees whatever changed in between.
        const RELOADS: usize = 2;
        let mut reloads = JoinSet::new();
        loop {
            tokio::select! {
                signal = self.signals.next() => match signal {
                    Sent::Reload if reloads.len() < RELOADS => {
                        let engine = self.engine.clone();
                        reloads.spawn(async move { reload(&engine).await });
                    }
                    Sent::Reload => {}
                    Sent::End(_) => break,
                },
                Some(_) = reloads.join_next() => {}
                _ = self.stop.raised() => break,
                () = self.standing.idle() => {
                    info!("nobody wants anything: ending until systemd starts us again");
                    break;
                }
                served = &mut self.serving => match served {
                    Ok(Err(failure)) => return Err(failure.into()),
                    Ok(Ok(())) => break,
                    Err(failure) => bail!("serving failed: {failure}"),
                },
            }
        }
        // What is half loaded would be closed as soon as it was there.
        drop(reloads);
        let Daemon {
            engine,
            standing,
            admin,
            serving,
            mut signals,
            closing: _closing,
            reporting: _reporting,
            ..
        } = self;
        let ended = async {
            let exit = drain(&engine, &standing, serving).await;
            admin.end().await;
            exit
        };
        tokio::select! {
            exit = ended => Ok(exit),
            signal = signals.end() => {
                warn!("ended at once by a second signal");
                Ok(Exit::Signalled(signal))
            }
        }
    }
}

/// A configuration, and all the sockets it asks for.
struct Bound {
    config: Config,
    sockets: Sockets,
    admin: Sockets,
}

/// What operators have to do with.
struct Operating<'a> {
    admin: &'a Admin,
    stop: &'a Stop,
    started: Instant,
}

/// Reads the configuration and binds what it says.
fn bind(source: &Source) -> Result<Bound> {
    let config = source()?;
    // First, so that nothing that is passed in takes its path.
    let admin = admin::bind(&config)?;
    let options = BindOptions {
        unix_group: config.unix.group.clone(),
        unix_mode: config.unix.mode,
        ..BindOptions::default()
    };
    let sockets = Sockets::bind(&config.listen, options, Activation::from_env()?)?;
    Ok(Bound { config, sockets, admin })
}

impl Exit {
    /// Returns the exit status, which `serve --help` explains.
    pub fn status(self) -> u8 {
        match self {
            Exit::Drained => 0,
            Exit::CutOff => 3,
            // As a shell says it of a process that a signal ended.
            Exit::Signalled(signal) => 128 + signal,
        }
    }
}

/// Publishes the first generation, then opens the gate.
async fn open(engine: &Arc<Engine>) -> Result<()> {
    engine.run(engine.job("reload")?).await.map_err(whole)?;
    engine.run(engine.job("acceptconnections")?).await?;
    Ok(())
}

/// Lets the connections finish what they began, then the jobs: whoever was accepted is answered.
async fn drain(engine: &Arc<Engine>, standing: &Standing, serving: JoinHandle<Result<(), Failure>>) -> Exit {
    let grace = standing.config.load().grace;
    info!("draining: requests under way have {grace:?}");
    systemd::stopping();
    let deadline = Instant::now() + grace;
    standing.server.gate.drain();
    let served = timeout(grace, serving).await.is_ok();
    let ending = engine.shutdown(deadline.saturating_duration_since(Instant::now())).await;
    if !ending.callbacks_done {
        warn!("a shutdown callback did not finish in time");
    }
    // The job that serves is one of those that were stopped.
    match (served, ending.stopped.saturating_sub(usize::from(!served))) {
        (true, 0) => info!("drained"),
        (false, 0) => warn!("the grace period is over: connections were cut off"),
        (_, stopped) => warn!("the grace period is over: {stopped} jobs were stopped"),
    }
    if served && ending.stopped == 0 { Exit::Drained } else { Exit::CutOff }
}

/// Runs the job `reload` and logs what it says; on failure the old generation goes on.
pub async fn reload(engine: &Arc<Engine>) {
    let outcome = match engine.job("reload") {
        Ok(job) => engine.run(job).await,
        Err(fault) => Err(Failure::Fault(fault)),
    };
    match outcome {
        Ok(()) => info!("reloaded: generation {}", engine.live().pin().generation),
        Err(failure) => error!("not reloaded, the old generation goes on:\n{:#}", whole(failure)),
    }
}

/// Registers the built-in jobs.
fn install(
    engine: &Arc<Engine>,
    standing: &Arc<Standing>,
    options: Options,
    operating: Operating<'_>,
) -> Result<()> {
    let Operating { admin, stop, started } = operating;
    let config = standing.config.load();
    let most = u32::try_from(config.jobs).context("jobs")?;
    let compilation = Compilation { compiler: Compiler::child(), cache: cache(&config.cache) };
    let sandbox = Sandbox::new(most, compilation).context("start wasmtime")?;
    match sandbox.allocation() {
        Allocation::Pooled => {}
        Allocation::OnDemand(why) => {
            warn!(
                "the pool of instances cannot be reserved, each job gets fresh memory, which is slower: {why}"
            );
        }
    }
    let status = TellStatus {
        engine: Arc::downgrade(engine),
        standing: standing.clone(),
        admin: admin.address(),
        allocation: sandbox.allocation().to_string(),
        started,
    };
    let loader = Loader::new(sandbox, options.progress);
    let generations = Arc::new(Generations::new(engine, loader));
    let reload =
        Reload { generations: generations.clone(), source: options.source, standing: standing.clone() };
    let swap = Swap { generations: generations.clone(), duration: config::duration };
    let watch = WatchCanary {
        generations: generations.clone(),
        duration: config::duration,
        gate: standing.server.gate.clone(),
    };
    let Standing { sockets, server, .. } = &**standing;
    let gate = server.gate.clone();
    let serve_api = ServeApi::new(sockets.clone(), server.clone(), Tenure::Service);
    let serve_admin = admin::job(engine, admin, server.settings.clone(), gate.clone());
    let plan =
        Plan { generations: generations.clone(), standing: standing.clone(), overlay: options.overlay };
    let weak = || Arc::downgrade(engine);
    let registry = engine.registry();
    registry.register("serveapi", Arc::new(serve_api))?;
    registry.register("serveadmin", Arc::new(serve_admin))?;
    registry.register("acceptconnections", Arc::new(AcceptConnections { standing: standing.clone() }))?;
    registry.register("reload", Arc::new(reload))?;
    registry.register("plan", Arc::new(plan))?;
    registry.register("swap", Arc::new(swap))?;
    registry.register("rollback", Arc::new(Rollback { generations }))?;
    registry.register("canary", Arc::new(watch))?;
    registry.register("shutdown", Arc::new(Shutdown { stop: stop.clone() }))?;
    registry.register("status", Arc::new(status))?;
    registry.register("handlers", Arc::new(ListHandlers { engine: weak() }))?;
    registry.register("routes", Arc::new(ListRoutes { engine: weak() }))?;
    registry.register("jobs", Arc::new(ListJobs { engine: weak() }))?;
    registry.register("kill", Arc::new(Kill { engine: weak() }))?;
    registry.register("logs", Arc::new(TellLogs { engine: weak() }))?;
    registry.register("explain", Arc::new(Explain { engine: weak() }))?;
    registry.register("commands", Arc::new(Commands { engine: weak() }))?;
    registry.register("version", Arc::new(Version))?;
    debug_assert!(registry.names().iter().map(Name::as_str).eq(BUILTIN), "BUILTIN lists what is registered");
    Ok(())
}

/// Opens the cache of compiled modules. A daemon that cannot have one starts slower, and says so.
fn cache(dir: &CacheDir) -> Option<Cache> {
    let var = |name: &str| std::env::var_os(name);
    let place = match dir {
        CacheDir::Off => return None,
        CacheDir::Standard => Place::standard(var),
        CacheDir::At(dir) => Place::at(dir.clone(), var),
    };
    place
        .and_then(|place| Cache::open(&place))
        .inspect_err(|refusal| warn!("compiled modules are not kept for the next start: {refusal:#}"))
        .ok()
}

/// Says how many connections there may be at once. Unless it is configured, half of the descriptors
/// the process may have: the other half is for files and mounts of jobs.
fn connections(config: &Config) -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let half = usize::try_from(descriptors / 2).unwrap_or(usize::MAX);
    config.http.connections.unwrap_or(half).clamp(1, Semaphore::MAX_PERMITS)
}

/// Keeps every line of what a job said: a configuration may have five mistakes.
fn whole(failure: Failure) -> anyhow::Error {
    match &failure {
        Failure::Status(_, said) if !said.text().is_empty() => anyhow::anyhow!("{}", said.text().trim_end()),
        Failure::Status(..) | Failure::Fault(_) => failure.into(),
    }
}
