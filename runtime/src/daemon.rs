//! The life of the daemon: bind, load, open, wait, drain.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, getrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tracing::{error, info, warn};

use crate::config::{CacheDir, Config};
use crate::engine::{Engine, Failure};
use crate::http::{Deadlines, Server, Settings};
use crate::job::{Name, Stop, StopReason};
use crate::jobs::{
    AcceptConnections, BUILTIN, Commands, Loader, Progress, Reload, ServeApi, Shutdown, Source, Version,
};
use crate::net::{self, Activation, BindOptions, Gate, Listener};
use crate::wasm::cache::{Cache, Place};
use crate::wasm::compile::Compiler;
use crate::wasm::{Allocation, Compilation, Sandbox};

/// What a daemon is started with.
pub struct Options {
    /// Reads the configuration, flags applied. Called at the start and for every reload.
    pub source: Source,
    /// Is told of every module that is compiled.
    pub progress: Progress,
}

/// A daemon that has bound its sockets and opened its gate.
pub struct Daemon {
    /// Where jobs are made and run.
    pub engine: Arc<Engine>,
    /// The addresses as they are bound, port 0 resolved.
    pub listening: Vec<String>,
    /// Ends the daemon when it is raised.
    pub stop: Stop,
    gate: Gate,
    grace: Duration,
    serving: tokio::task::JoinHandle<Result<(), Failure>>,
    signals: Signals,
}

/// What an operator may send.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Daemon {
    /// Binds, loads and opens, in this order: clients that connect meanwhile wait in the kernel. A
    /// signal to end that comes meanwhile is not waited for: `run` then drains at once.
    ///
    /// # Errors
    /// A bad configuration, an address that cannot be bound, a module that cannot be a handler. What
    /// was bound is unbound.
    pub async fn start(options: Options) -> Result<Daemon> {
        // First: until then a signal would end us with our sockets left behind.
        let signals = Signals::listen()?;
        let config = (options.source)()?;
        let bind = BindOptions {
            unix_group: config.unix.group.clone(),
            unix_mode: config.unix.mode,
            ..BindOptions::default()
        };
        let mut activation = Activation::from_env()?;
        let listeners = net::bind(&config.listen, &bind, &mut activation)?;
        net::warn_if_exposed(&listeners);
        let listening = listeners.iter().map(|listener| listener.local().to_owned()).collect();

        let gate = Gate::shut();
        let stop = Stop::new();
        let engine = Engine::new(config.jobs);
        install(&engine, &config, listeners, Parts { options, gate: gate.clone(), stop: stop.clone() })?;

        let serving = engine.spawn(engine.job("serveapi")?);
        let mut daemon = Daemon { engine, listening, stop, gate, grace: config.grace, serving, signals };
        let Daemon { engine, signals, .. } = &mut daemon;
        tokio::select! {
            opened = open(engine) => opened?,
            () = signals.end() => daemon.stop.raise(StopReason::Shutdown),
        }
        Ok(daemon)
    }

    /// Waits for a signal to end, then drains: no new connections, at most the grace period for the
    /// requests under way. A second signal ends at once. SIGHUP reloads.
    ///
    /// # Errors
    /// Serving failed.
    pub async fn run(mut self) -> Result<()> {
        loop {
            tokio::select! {
                _ = self.signals.hangup.recv() => reload(&self.engine).await,
                _ = self.signals.terminate.recv() => break,
                _ = self.signals.interrupt.recv() => break,
                StopReason::Shutdown | StopReason::Killed = self.stop.raised() => break,
            }
        }
        let Daemon { engine, gate, grace, serving, mut signals, .. } = self;
        tokio::select! {
            () = drain(&engine, &gate, grace) => {}
            () = signals.end() => return Err(anyhow::anyhow!("ended at once by a second signal")),
        }
        serving.abort();
        Ok(())
    }
}

impl Signals {
    fn listen() -> Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for a signal to end.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Publishes the first generation, then opens the gate.
async fn open(engine: &Arc<Engine>) -> Result<()> {
    engine.run(engine.job("reload")?).await.map_err(whole)?;
    engine.run(engine.job("acceptconnections")?).await?;
    Ok(())
}

async fn drain(engine: &Arc<Engine>, gate: &Gate, grace: Duration) {
    info!("draining: requests under way have {grace:?}");
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    gate.drain();
    let ending = engine.shutdown(grace).await;
    match ending.stopped {
        0 => info!("drained"),
        stopped => warn!("{stopped} jobs did not finish in time and were stopped"),
    }
    if !ending.callbacks_done {
        warn!("a shutdown callback did not finish in time");
    }
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

/// What the built-in jobs are made of, besides the configuration.
struct Parts {
    options: Options,
    gate: Gate,
    stop: Stop,
}

/// Registers the built-in jobs.
fn install(engine: &Arc<Engine>, config: &Config, listeners: Vec<Listener>, parts: Parts) -> Result<()> {
    let compilation = Compilation { compiler: Compiler::child(), cache: cache(&config.cache) };
    let sandbox =
        Sandbox::new(u32::try_from(config.jobs).context("jobs")?, compilation).context("start wasmtime")?;
    match sandbox.allocation() {
        Allocation::Pooled => {}
        Allocation::OnDemand(why) => {
            warn!(
                "the pool of instances cannot be reserved, each job gets fresh memory, which is slower: {why}"
            );
        }
    }
    let server = Server {
        engine: engine.clone(),
        gate: parts.gate.clone(),
        settings: settings(config),
        connections: Arc::new(Semaphore::new(connections(config))),
    };
    let reload = Reload {
        engine: Arc::downgrade(engine),
        loader: Loader::new(sandbox, parts.options.progress),
        source: parts.options.source,
    };
    let registry = engine.registry();
    registry.register(
        "serveapi",
        Arc::new(ServeApi { listeners: Mutex::new(listeners), server: Arc::new(server) }),
    )?;
    registry.register("acceptconnections", Arc::new(AcceptConnections { gate: parts.gate }))?;
    registry.register("reload", Arc::new(reload))?;
    registry.register("shutdown", Arc::new(Shutdown { stop: parts.stop }))?;
    registry.register("commands", Arc::new(Commands { engine: Arc::downgrade(engine) }))?;
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

/// Takes the bounds of connections out of the configuration.
fn settings(config: &Config) -> Settings {
    let http = &config.http;
    Settings {
        deadlines: Deadlines {
            first_byte: http.first_byte,
            head: http.head,
            keep_alive: http.keep_alive,
            write_idle: http.write_idle,
        },
        body_idle: http.body_idle,
        head_size: http.head_size,
        target_size: http.target_size,
        fields: http.fields,
        access_log: config.access_log,
    }
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

/// Tells the service manager, if there is one.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!("cannot reach the service manager: {error}");
    }
}
