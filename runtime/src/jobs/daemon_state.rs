//! What the daemon stands on besides its catalog: the sockets, the server and the configuration in force.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use super::follower::Follower;
use super::load::StepTurn;
use crate::config::Config;
use crate::engine::JobSnapshot;
use crate::http::{Deadlines, Details, MinRate, Server, Settings};
use crate::job::Kind;
use crate::net::{GateState, Phase, Sockets, Term, Tls};
use crate::observe::reloads::LastOutcomes;
use crate::observe::{Reloads, brief, counted, systemd};

/// The longest reason of a refused reload in a line for people, in bytes.
const REASON: usize = 300;

/// How long a connection that is to leave waits for a request that may be on its way, unless `grace` is short.
const LINGER: Duration = Duration::from_millis(500);

/// What the jobs that change the daemon share; only who has the turn of [`Generations`](super::Generations) changes it.
pub struct DaemonState {
    /// What the daemon does now, flags applied.
    pub config: ArcSwap<Config>,
    /// Every listener.
    pub sockets: Arc<Sockets>,
    /// Those of operators.
    pub operators: [Arc<Sockets>; 2],
    /// What answers their connections.
    pub server: Arc<Server>,
    /// How the last reloads have ended.
    pub reloads: Arc<Reloads>,
    share: DescriptorShare,
    /// When the reading of the configuration in force began.
    adopted: watch::Sender<SystemTime>,
    follower: OnceLock<Follower>,
    /// What the service manager keeps for the next process.
    kept: Mutex<BTreeSet<String>>,
    /// What is compiled now, in words.
    compiling: Mutex<Option<String>>,
}

/// Says how many file descriptors jobs may hold beside so many connections, once the second configuration is in force
/// in the place of the first one; an error: too few.
pub type DescriptorShare = fn(usize, &Config, &Config) -> anyhow::Result<usize>;

impl DaemonState {
    /// Puts together what the daemon stands on.
    pub fn new(
        config: ArcSwap<Config>,
        sockets: Sockets,
        operators: [Arc<Sockets>; 2],
        server: Arc<Server>,
        share: DescriptorShare,
    ) -> DaemonState {
        let sockets = Arc::new(sockets);
        let adopted = watch::Sender::new(SystemTime::now());
        DaemonState {
            config,
            sockets,
            operators,
            server,
            reloads: Arc::default(),
            share,
            adopted,
            follower: OnceLock::new(),
            kept: Mutex::default(),
            compiling: Mutex::default(),
        }
    }

    /// Tells of every configuration that comes into force, by the time at which its reading began: what
    /// is on disk may be newer by what was written since.
    pub fn adopted(&self) -> watch::Receiver<SystemTime> {
        self.adopted.subscribe()
    }

    /// Lets go of the sockets: this process accepts from them. Upgraded connections go on.
    pub(super) fn hand_over(&self, follower: Follower) {
        // Only the first call counts: afterwards there is nothing left to hand over.
        let _first = self.follower.set(follower);
        self.leave_files();
        self.sockets.end(Phase::Closed);
        self.operators.iter().for_each(|sockets| sockets.end(Phase::Over));
    }

    /// Leaves the files of Unix sockets where they are, for the next process.
    pub fn leave_files(&self) {
        self.sockets.leave_files();
        self.operators.iter().for_each(|sockets| sockets.leave_files());
    }

    /// Makes everything that was taken over ours; see [`Sockets::own`].
    pub fn own(&self) -> Vec<String> {
        self.operators.iter().for_each(|sockets| drop(sockets.own()));
        self.sockets.own()
    }

    /// Returns the process that has taken over, if one has.
    pub fn follower(&self) -> Option<&Follower> {
        self.follower.get()
    }

    /// Has the service manager keep the sockets that we bound, for the next process, and no others.
    pub fn keep(&self) {
        if !systemd::keeps_descriptors() {
            return;
        }
        let named = self.sockets.named().and_then(|mut named| {
            for sockets in &self.operators {
                named.extend(sockets.named()?);
            }
            Ok(named)
        });
        match named {
            Ok(named) => {
                let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                // Storing one again does nothing: systemd sees that it is the same.
                named.iter().for_each(|(name, socket)| systemd::store(name, socket.as_fd()));
                let now = named.into_iter().map(|(name, _)| name).collect();
                kept.difference(&now).for_each(|name| systemd::discard(name));
                *kept = now;
            }
            Err(error) => warn!("sockets are not kept over a restart: {error:#}"),
        }
    }

    /// Says that a module is compiled from now on: in the log, to the service manager, which gives it the
    /// time that it may take, and to those who ask.
    pub fn compiles(&self, StepTurn { name, number, total }: StepTurn<'_>) {
        let told = format!("compiling {number} of {total}: {name}");
        info!("{told}");
        systemd::compiling(&told, self.config.load().compile.wall());
        *self.compiling.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
    }

    /// Says that nothing is compiled any more.
    pub fn has_compiled(&self) {
        let told = self.compiling.lock().unwrap_or_else(PoisonError::into_inner).take();
        if told.is_some() && self.server.gate.state() == GateState::Open {
            systemd::status(&self.status());
        }
    }

    /// Says what is compiled now.
    pub(super) fn compiling(&self) -> Option<String> {
        self.compiling.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says in a line what serves.
    pub fn state(&self) -> String {
        let catalog = self.server.engine.live().pin();
        let (gate, handlers) = (self.server.gate.state(), counted(catalog.handlers.len(), "handler"));
        format!("{gate}: generation {}, {handlers}", catalog.generation)
    }

    /// Says in a line where the daemon stands: what serves, and why that is not what was asked for last.
    pub fn status(&self) -> String {
        let mut status = self.state();
        let LastOutcomes { refused, secrets_refused, .. } = self.reloads.last();
        for (what, refused) in
            [("the last reload was refused", refused), ("changed secrets are not taken up", secrets_refused)]
        {
            if let Some((_, reason)) = refused {
                let reason = brief(reason.lines().next().unwrap_or_default(), REASON);
                let _infallible = write!(status, "; {what}: {reason}");
            }
        }
        status
    }

    /// Tells the service manager that we are alive, and where we stand when that has changed, until it
    /// is dropped. It has to be scheduled as requests are: where they are stuck, it is.
    pub async fn report(self: Arc<Self>) {
        /// How old a status may be.
        const LOOK: Duration = Duration::from_secs(1);
        if !systemd::listens() {
            return;
        }
        let watchdog = systemd::watchdog();
        // sd_watchdog_enabled(3): half of the time is recommended.
        let mut beats = interval(watchdog.map_or(LOOK, |time| (time / 2).min(LOOK)));
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = String::new();
        loop {
            beats.tick().await;
            if watchdog.is_some() {
                systemd::alive();
            }
            let status = self.status();
            if status != told && self.server.gate.state() == GateState::Open {
                systemd::status(&status);
                told = status;
            }
        }
    }

    /// Warns of each certificate that ends soon, once a day, until it is dropped: a reload warns of
    /// those that end soon by then, and the next one may never come.
    pub async fn watch_terms(self: Arc<Self>) {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        loop {
            sleep(DAY).await;
            let tls = self.tls();
            let warnings = tls.iter().flat_map(|tls| tls.terms()).filter_map(Term::warning);
            warnings.for_each(|warning| warn!("tls: {warning}"));
        }
    }

    /// Waits until nobody has been connected, and no handler has run, for as long as is configured, and
    /// no version is on trial, which ends by itself.
    pub async fn idle(&self) {
        /// How soon a change of the configuration is seen.
        const LOOK: Duration = Duration::from_secs(1);
        loop {
            let Some(time) = self.config.load().idle_exit else {
                sleep(LOOK).await;
                continue;
            };
            self.server.activity.ceased(time).await;
            let works = |sighting: &JobSnapshot| sighting.entry.kind != Kind::Native;
            let unchanged = self.config.load().idle_exit == Some(time);
            let engine = &self.server.engine;
            let on_trial = !engine.live().pin().canaries.is_empty();
            if unchanged && !on_trial && !engine.sightings().iter().any(works) {
                return;
            }
            sleep(LOOK).await;
        }
    }

    /// Returns what encrypts connections; none: nothing does.
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.server.settings.load().tls.clone()
    }

    /// Says how many file descriptors jobs may hold once a configuration is in force.
    ///
    /// # Errors
    /// Too few.
    pub(super) fn descriptors(&self, next: &Config) -> anyhow::Result<usize> {
        (self.share)(self.server.connections.most(), &self.config.load(), next)
    }

    /// Puts a configuration into force, as far as it is not in the catalog. Connections that are open
    /// keep what they were accepted with. `read`: when the reading of it began.
    pub(super) fn adopt(&self, config: Config, tls: Option<Arc<Tls>>, read: SystemTime) {
        if let Some(tls) = tls.as_ref().filter(|tls| !self.tls().is_some_and(|old| Arc::ptr_eq(&old, tls))) {
            tls.warnings().iter().for_each(|warning| warn!("tls: {warning}"));
        }
        self.server.settings.store(Arc::new(Settings { tls, ..settings(&config) }));
        // It was looked at before, by [`refusals`](super::refusals).
        if let Ok(units) = self.descriptors(&config) {
            self.server.engine.budgets().descriptors.resize(units);
        }
        self.config.store(Arc::new(config));
        self.adopted.send_replace(read);
    }
}

/// Takes the bounds of connections out of a configuration. The certificates are read by a reload.
pub fn settings(config: &Config) -> Settings {
    let http = &config.http;
    Settings {
        deadlines: Deadlines {
            first_byte: http.first_byte,
            head: http.head,
            keep_alive: http.keep_alive,
            write_idle: http.write_idle,
            rate: MinRate { bytes: http.min_rate, window: http.rate_window },
        },
        body_idle: http.body_idle,
        head_size: http.head_size,
        target_size: http.target_size,
        fields: http.fields,
        details: if config.debug { Details::Told } else { Details::Withheld },
        profiler: config.profiler,
        access_log: config.access_log,
        handshake: http.handshake,
        handshakes: http.handshakes,
        linger: LINGER.min(config.grace / 4),
        tls: None,
    }
}
