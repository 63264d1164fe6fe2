//! The life of the daemon: bind, load, open, wait, drain.
//!
//! Floors, lowest first: `certificates`, `change_queue`, `resource_demand`, `hardening`, `key_sets`, `operators`,
//! `schedules`; `descriptors`, `ending`, `memory`, `signals`; `begin`, `preflight`; `options`; `install`.

mod begin;
mod certificates;
mod change_queue;
mod descriptors;
mod ending;
mod hardening;
mod install;
mod key_sets;
mod memory;
mod operators;
mod options;
mod preflight;
mod resource_demand;
mod schedules;
mod signals;

use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;

use anyhow::{Result, bail};
use arc_swap::ArcSwap;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::budget::Budget;
use crate::config::Config;
use crate::confine;
use crate::engine::{Budgets, DaemonJobError, Engine};
use crate::http::{Activity, ConnectionLimit, Server};
use crate::job::{Stop, StopReason, builtin};
use crate::jobs::{self, ConfigReading, DaemonState};
use crate::net::{Activation, Gate, Guide, Listener, Phase, Sockets};
use crate::observe::{access_file, systemd};
pub use begin::{EarlyDaemon, begin};
use change_queue::{Changes, whole};
pub use change_queue::{refresh, reload};
use descriptors::DescriptorShares;
pub use ending::Exit;
use ending::drain;
pub use hardening::{Hardened, harden};
use install::{Operating, install};
use memory::Total;
use operators::{Operators, client_options};
pub use options::Options;
pub use preflight::{PreflightFindings, doubtful, lacking, open_scratch};
use signals::{SignalEvent, Signals};

/// A daemon that has bound its sockets and opened its gate.
pub struct Daemon {
    /// Makes and runs jobs.
    pub engine: Arc<Engine>,
    /// Ends the daemon when raised.
    pub stop: Stop,
    state: Arc<DaemonState>,
    operators: Operators,
    serving: JoinHandle<Result<(), DaemonJobError>>,
    signals: Signals,
    closing: Closing,
    /// Tasks beside the requests, which end with the daemon.
    attending: JoinSet<()>,
}

/// An address on which a daemon listens.
pub struct Address {
    /// The address as it is bound: `tcp://127.0.0.1:8080`.
    pub local: String,
    /// How clients connect over TLS, or `None` if the address is in clear.
    pub tls: Option<Guide>,
}

/// Closes the sockets when dropped. The jobs that hold them may outlive `run`, however it ends.
struct Closing(Arc<DaemonState>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.sockets.end(Phase::Over);
    }
}

impl Daemon {
    /// Binds the sockets, loads the modules and opens the gate, in this order. Clients that connect meanwhile wait in
    /// the kernel's queue. A signal to end is not kept waiting: before the sockets are bound, `start` returns `None`;
    /// after that, `run` drains at once.
    ///
    /// # Errors
    /// The configuration is invalid, an address cannot be bound, or a module cannot be a handler. All sockets are
    /// closed then.
    pub async fn start(mut options: Options) -> Result<Option<Daemon>> {
        // First: without a signal handler, a signal would end the process and leave its socket files behind.
        let (mut signals, config) = match options.begun.take() {
            Some(EarlyDaemon { config, signals }) => (signals, Some(config)),
            None => (Signals::listen()?, None),
        };
        let started = Instant::now();
        let source = options.source.clone();
        // On a thread of its own: reading a file and looking up a name may block for long.
        let binding = tokio::task::spawn_blocking(move || {
            bind(config.map_or_else(|| source(ConfigReading::Start), Ok)?)
        });
        let BoundDaemon { config, sockets, mut operators, max, total, left } = tokio::select! {
            bound = binding => bound??,
            _ = signals.end() => return Ok(None),
        };
        // Not earlier: a daemon that cannot start prints its error and nothing else.
        options.hardened.tell();
        let stop = Stop::new();
        for lack in [max.lack(&config), total.lack(&config)].into_iter().flatten() {
            // No warning: on most hosts the defaults add up to more than there is, which does no harm.
            info!("{lack}");
        }
        if let Some(lack) = total.stores_lack() {
            warn!("{lack}");
        }
        let engine = Engine::within(Budgets {
            places: Budget::new(config.jobs),
            memory: total.budget(),
            descriptors: Budget::new(max.jobs),
        });
        let server = Arc::new(Server {
            engine: engine.clone(),
            gate: Gate::shut(),
            settings: Arc::new(ArcSwap::from_pointee(jobs::settings(&config))),
            connections: ConnectionLimit::new(max.connections, max.per_ip, memory::of_clients(&config)),
            activity: Activity::default(),
            handshakes: Arc::default(),
            refused: Arc::default(),
            direct: Arc::default(),
            scratch: preflight::scratch(&config),
        });
        let config = ArcSwap::from_pointee(config);
        let state = Arc::new(DaemonState::new(
            config,
            sockets,
            operators.sockets(),
            server,
            descriptors::shares_beside,
        ));
        let closing = Closing(state.clone());
        let operating = Operating { operators: &operators, stop: &stop, started, memory: &total, left };
        install(&engine, &state, options, operating)?;
        // Not earlier: wasmtime opens /proc/self/pagemap at its start, which cannot be opened from here on.
        if state.config.load().hardening.privileges
            && let Err(refusal) = confine::unreadable()
        {
            warn!("hardening: other processes of this user can read the memory of the daemon: {refusal:#}");
        }

        operators.serve(&engine)?;
        let serving = engine.spawn(engine.job(builtin::SERVE_API)?);
        let mut attending = JoinSet::new();
        // The task ends with the gate. The engine waits for the jobs that it has started.
        attending.spawn(schedules::keep(engine.clone(), state.server.gate.clone()));
        attending.spawn(key_sets::keep(state.clone()));
        attending.spawn(state.clone().report());
        attending.spawn(state.clone().watch_terms());
        attending.spawn(certificates::keep(state.clone()));
        tokio::select! {
            opened = open(&engine, &state) => opened?,
            _ = signals.end() => stop.raise(StopReason::Shutdown),
        }
        Ok(Some(Daemon { engine, stop, state, operators, serving, signals, closing, attending }))
    }

    /// Returns the state of the daemon, such as its configuration.
    pub fn state(&self) -> Arc<DaemonState> {
        self.state.clone()
    }

    /// Serves until a signal to end, then drains. During `shutdown_delay` new connections are still accepted; after it,
    /// the requests in progress have the grace period. A second signal ends the daemon at once. SIGHUP reloads. SIGUSR2
    /// upgrades: the requests of this process then have `upgrade_grace`, or until a signal to end.
    ///
    /// # Errors
    /// The job that serves failed.
    pub async fn run(mut self) -> Result<Exit> {
        let mut changes = Changes::new(self.engine.clone(), self.stop.clone());
        let served = loop {
            tokio::select! {
                signal = self.signals.next() => match signal {
                    SignalEvent::Change(change) => changes.ask(change),
                    SignalEvent::End(_) => break false,
                },
                () = changes.go_on() => {}
                _ = self.stop.raised() => break false,
                () = self.state.idle() => {
                    info!("idle: ending until systemd starts the daemon again");
                    break false;
                }
                served = &mut self.serving => match served {
                    Ok(Err(failure)) => return Err(failure.into()),
                    // An upgrade took the last socket.
                    Ok(Ok(())) => break true,
                    Err(failure) => bail!("serving failed: {failure}"),
                },
            }
        };
        // A generation that is only half loaded would be dropped again as soon as it is there.
        changes.end(self.state.successor());
        let served = served || self.outlive().await;
        let Daemon {
            engine,
            state,
            operators,
            serving,
            mut signals,
            closing: _closing,
            attending: _attending,
            ..
        } = self;
        let ended = async {
            let exit = drain(&engine, &state, (!served).then_some(serving)).await;
            operators.end().await;
            exit
        };
        let second = async {
            loop {
                match signals.next().await {
                    SignalEvent::Change(change) => match state.successor() {
                        Some(successor) => change.pass_on(successor),
                        None => info!("{change}: refused, the daemon is draining"),
                    },
                    SignalEvent::End(signal) => return signal,
                }
            }
        };
        tokio::select! {
            // A second signal that has arrived takes precedence over a drain that has completed.
            biased;
            signal = second => {
                warn!("ended at once by a second signal");
                Ok(Exit::Signalled(signal))
            }
            exit = ended => Ok(exit),
        }
    }
}

impl Daemon {
    /// After an upgrade, finishes the requests of this process: until all are done, `upgrade_grace` is over, or a
    /// signal to end comes. Returns `true` if all connections are closed, and `false` at once if there was no upgrade.
    async fn outlive(&mut self) -> bool {
        let Some(successor) = self.state.successor() else { return false };
        let patience = self.state.config.load().upgrade_grace;
        info!("process {} serves now; the requests of this process have {patience:?}", successor.process);
        self.state.server.gate.drain();
        let (mut over, mut served) = (pin!(sleep(patience)), false);
        loop {
            tokio::select! {
                _served = &mut self.serving, if !served => served = true,
                // Jobs that no client waits for, such as those of schedules.
                () = self.engine.settled(), if served => return true,
                () = &mut over => return served,
                signal = self.signals.next() => match signal {
                    SignalEvent::Change(change) => change.pass_on(successor),
                    SignalEvent::End(_) => return served,
                },
            }
        }
    }
}

/// Returns the bound addresses of a daemon, with port 0 resolved.
pub fn listening(state: &DaemonState) -> Vec<Address> {
    let tls = state.tls();
    let address = |listener: &Arc<Listener>| Address {
        local: listener.local().to_owned(),
        tls: tls.as_ref().filter(|tls| tls.covers(listener)).map(|tls| tls.guide().clone()),
    };
    state.sockets.listeners().iter().map(address).collect()
}

/// A configuration with its bound sockets.
struct BoundDaemon {
    config: Config,
    sockets: Sockets,
    operators: Operators,
    max: DescriptorShares,
    total: Total,
    /// The directories that handlers of the process before this one may write to.
    left: Option<OwnedFd>,
}

/// Binds the sockets of a configuration.
fn bind(config: Config) -> Result<BoundDaemon> {
    config.logging.format.apply();
    config.logging.access_log_file.as_deref().map(access_file::start).transpose()?;
    descriptors::raise();
    let max = descriptors::shares(&config)?;
    let total = Total::of(&config);
    let mut activation = Activation::from_env()?;
    let left = activation.writable();
    // First, so that no inherited socket takes the path of the admin socket.
    let operators = Operators::bind(&config, &mut activation)?;
    let sockets = Sockets::bind(&config.listen, client_options(&config), activation)?;
    if left.is_none() && sockets.has_predecessor() {
        warn!(
            "the old process does not report what its handlers may write to, as older releases do not: \
             until it has ended, what is read from those directories is trusted"
        );
    }
    Ok(BoundDaemon { config, sockets, operators, max, total, left })
}

/// Publishes the first generation, then opens the gate. During an upgrade, the process before this one agrees first,
/// and is told afterwards.
async fn open(engine: &Arc<Engine>, state: &DaemonState) -> Result<()> {
    engine.run(engine.job(builtin::RELOAD)?).await.map_err(whole)?;
    let mut predecessor = state.sockets.predecessor();
    if let Some(predecessor) = &mut predecessor {
        predecessor.ready().await?;
    }
    engine.run(engine.job(builtin::ACCEPT_CONNECTIONS)?).await?;
    let left = state.own();
    if systemd::keeps_descriptors() {
        left.iter().for_each(|name| systemd::discard(name));
    }
    state.keep();
    if let Some(predecessor) = predecessor {
        predecessor.open().await;
    }
    Ok(())
}
