//! The state of the daemon besides its catalog: the configuration in force, the sockets and the server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use super::load::{LoadNumber, StepTurn};
use super::successor::SuccessorProcess;
use crate::catalog::Template;
use crate::config::Config;
use crate::engine::JobSnapshot;
use crate::http::{AccessLog, Collector, Deadlines, Details, H1_DRAIN_GRACE, MinRate, Server, Settings};
use crate::job::Kind;
use crate::net::{Endpoint, GateState, Phase, Sockets, Term, Tls};
use crate::observe::reloads::LastOutcomes;
use crate::observe::traces::TraceSettings;
use crate::observe::{Reloads, brief, counted, systemd};

/// The maximum length of the reason in the status line, in bytes.
const REASON: usize = 300;

/// The state that jobs share. Only the job that may publish changes it; see [`Generations`](super::Generations).
pub struct DaemonState {
    /// The configuration in force, with the flags applied.
    pub config: ArcSwap<Config>,
    /// The listeners of clients.
    pub sockets: Arc<Sockets>,
    /// The listeners of operators.
    pub operators: [Arc<Sockets>; 2],
    /// The server that answers clients.
    pub server: Arc<Server>,
    /// The outcomes of the last reloads.
    pub reloads: Arc<Reloads>,
    share: DescriptorShare,
    /// When the configuration in force was read: the time at which the reading began.
    adopted: watch::Sender<SystemTime>,
    successor: OnceLock<SuccessorProcess>,
    /// The names of the sockets that the service manager keeps for the next process.
    kept: Mutex<BTreeSet<String>>,
    /// The module that each load compiles now.
    compiling: Mutex<BTreeMap<LoadNumber, String>>,
}

/// Returns how many file descriptors jobs may hold beside so many connections, once the second configuration replaces
/// the first. An error if that is too few.
pub type DescriptorShare = fn(usize, &Config, &Config) -> anyhow::Result<usize>;

impl DaemonState {
    /// Makes the state of a daemon that starts.
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
            successor: OnceLock::new(),
            kept: Mutex::default(),
            compiling: Mutex::default(),
        }
    }

    /// Returns a receiver of the time of every configuration that takes effect: the time at which its reading began.
    /// Files written after it may contain more.
    pub fn adopted(&self) -> watch::Receiver<SystemTime> {
        self.adopted.subscribe()
    }

    /// Closes the sockets, which the new process accepts from. Upgraded connections go on.
    pub(super) fn hand_over(&self, successor: SuccessorProcess) {
        // Only the first call has an effect: after it there is nothing left to hand over.
        let _first = self.successor.set(successor);
        self.leave_files();
        self.sockets.end(Phase::Closed);
        self.operators.iter().for_each(|sockets| sockets.end(Phase::Over));
    }

    /// Keeps the files of Unix sockets when they are closed, for the next process.
    pub fn leave_files(&self) {
        self.sockets.leave_files();
        self.operators.iter().for_each(|sockets| sockets.leave_files());
    }

    /// Takes ownership of all inherited sockets; see [`Sockets::own`].
    pub fn own(&self) -> Vec<String> {
        self.operators.iter().for_each(|sockets| drop(sockets.own()));
        self.sockets.own()
    }

    /// Returns the process that has taken over, if any.
    pub fn successor(&self) -> Option<&SuccessorProcess> {
        self.successor.get()
    }

    /// Has the service manager keep the sockets that are bound now, for the next process, and no others.
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
                // Storing a socket again does nothing: systemd recognises it.
                named.iter().for_each(|(name, socket)| systemd::store(name, socket.as_fd()));
                let now = named.into_iter().map(|(name, _)| name).collect();
                kept.difference(&now).for_each(|name| systemd::discard(name));
                *kept = now;
            }
            Err(error) => warn!("sockets are not kept over a restart: {error:#}"),
        }
    }

    /// Reports that a module is being compiled: in the log, in `status`, and to the service manager, which extends its
    /// timeout by the time limit of the compiler.
    pub fn compiles(&self, load: LoadNumber, StepTurn { name, number, total }: StepTurn<'_>) {
        let told = format!("compiling {number} of {total}: {name}");
        info!("{told}");
        systemd::compiling(&told, self.config.load().compile.wall());
        self.compiling.lock().unwrap_or_else(PoisonError::into_inner).insert(load, told);
    }

    /// Reports that a load compiles no module any more.
    pub fn has_compiled(&self, load: LoadNumber) {
        let told = self.compiling.lock().unwrap_or_else(PoisonError::into_inner).remove(&load);
        if told.is_some() && self.server.gate.state() == GateState::Open {
            systemd::status(&self.status());
        }
    }

    /// Describes the modules that are being compiled, one for each load.
    pub(super) fn compiling(&self) -> Option<String> {
        let compiling = self.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        let told: Vec<&str> = compiling.values().map(String::as_str).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// Describes in a line what is served.
    pub fn state(&self) -> String {
        let catalog = self.server.engine.live().pin();
        let (gate, handlers) = (self.server.gate.state(), counted(catalog.handlers.len(), "handler"));
        format!("{gate}: generation {}, {handlers}", catalog.generation)
    }

    /// Describes in a line what is served, and why that is not what the last reload asked for.
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

    /// Sends the service manager watchdog pings, and the status when it changes, until dropped. Runs on the runtime of
    /// the requests, so a blocked runtime stops the pings as well.
    pub async fn report(self: Arc<Self>) {
        /// The maximum age of the status.
        const STATUS_AGE: Duration = Duration::from_secs(1);
        if !systemd::listens() {
            return;
        }
        let watchdog = systemd::watchdog();
        // sd_watchdog_enabled(3) recommends half of the interval.
        let mut beats = interval(watchdog.map_or(STATUS_AGE, |time| (time / 2).min(STATUS_AGE)));
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

    /// Warns once a day of each certificate that expires soon, until dropped. A reload warns too, but the next one may
    /// never come.
    pub async fn watch_terms(self: Arc<Self>) {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        loop {
            sleep(DAY).await;
            let tls = self.tls();
            let warnings = tls.iter().flat_map(|tls| tls.terms()).filter_map(Term::warning);
            warnings.for_each(|warning| warn!("tls: {warning}"));
        }
    }

    /// Waits until there was no connection for `idle_exit`, no handler runs, and no version is on trial.
    pub async fn idle(&self) {
        /// How soon a change of the configuration is noticed.
        const IDLE_CHECK: Duration = Duration::from_secs(1);
        loop {
            let Some(time) = self.config.load().idle_exit else {
                sleep(IDLE_CHECK).await;
                continue;
            };
            self.server.activity.ceased(time).await;
            let works = |snapshot: &JobSnapshot| snapshot.entry.kind != Kind::Native;
            let unchanged = self.config.load().idle_exit == Some(time);
            let engine = &self.server.engine;
            let on_trial = !engine.live().pin().trials.is_empty();
            if unchanged && !on_trial && !engine.snapshots().iter().any(works) {
                return;
            }
            sleep(IDLE_CHECK).await;
        }
    }

    /// Returns the certificates, or `None` if all sockets are in clear.
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.server.settings.load().tls.clone()
    }

    /// Returns how many file descriptors jobs may hold once a configuration takes effect.
    ///
    /// # Errors
    /// They are too few.
    pub(super) fn descriptors(&self, next: &Config) -> anyhow::Result<usize> {
        (self.share)(self.server.connections.max_connections(), &self.config.load(), next)
    }

    /// Puts all of a configuration into effect that is not in the catalog. Open connections keep the settings they were
    /// accepted with.
    pub(super) fn adopt(&self, config: Config, tls: Option<Arc<Tls>>) {
        if let Some(tls) = tls.as_ref().filter(|tls| !self.tls().is_some_and(|old| Arc::ptr_eq(&old, tls))) {
            tls.warnings().iter().for_each(|warning| warn!("tls: {warning}"));
        }
        config.logging.format.apply();
        config.histograms.apply();
        let tracing = self.server.engine.traces();
        // [`refusals`](super::reload_refusals) has checked this before.
        if let Ok(traces) = traces(&config) {
            tracing.apply(traces, Collector::of);
        }
        let tracer = tracing.current();
        self.server.settings.store(Arc::new(Settings { tls, tracer, ..settings(&config) }));
        // [`refusals`](super::reload_refusals) has checked this before.
        if let Ok(units) = self.descriptors(&config) {
            self.server.engine.budgets().descriptors.resize(units);
        }
        self.server.engine.history().resize(config.history);
        self.config.store(Arc::new(config));
    }

    /// Tells those who wait for [`DaemonState::adopted`] that a configuration is in force, with its catalog and its
    /// sockets. `read` is the time at which its reading began.
    pub(super) fn announce(&self, read: SystemTime) {
        self.adopted.send_replace(read);
    }
}

/// Takes the limits of connections from a configuration. The certificates are read by a reload.
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
        operators: config.admin_group_access,
        access_log: config
            .logging
            .access_log
            .map(|format| AccessLog { format, mask: config.logging.mask_query.clone() }),
        mask_query: config.logging.mask_query.clone(),
        handshake: http.handshake,
        handshakes: http.handshakes,
        linger: H1_DRAIN_GRACE.min(config.grace / 4),
        https: config.https_redirect.then(|| Arc::new(https(config))),
        tls: None,
        trusted_proxies: Some(&config.trusted_proxies)
            .filter(|trusted| !trusted.is_empty())
            .cloned()
            .map(Arc::new),
        proxy_protocol: config.proxy_protocol.clone(),
        key_sets: config.key_sets().cloned().collect(),
        tracer: None,
    }
}

/// Completes the settings of traces from the environment. `None` if traces are off.
///
/// # Errors
/// A variable of the environment cannot be honoured.
pub fn traces(config: &Config) -> anyhow::Result<Option<TraceSettings>> {
    let settings = config.traces.complete(|name| std::env::var(name).ok());
    settings.map_err(|message| anyhow::anyhow!("traces: {message}"))
}

/// Makes the URL to which requests in clear are redirected: with the port of the first TCP endpoint that uses TLS, if
/// the configuration names one.
fn https(config: &Config) -> Template {
    let plain = config.tls.as_ref().map_or(&[][..], |tls| &tls.plain);
    let secured = config.listen.iter().filter(|endpoint| !plain.contains(endpoint));
    let mut ports = secured.filter_map(|endpoint| match endpoint {
        Endpoint::Tcp(address) => Some(address.port()),
        Endpoint::Unix(_) | Endpoint::Fd(_) => None,
    });
    let port = match ports.next() {
        // The default port of https (RFC 9110 §4.2.2), or a port that the kernel chooses.
        Some(443 | 0) | None => String::new(),
        Some(port) => format!(":{port}"),
    };
    Template::url(&format!("https://{{host}}{port}{{uri}}"), &[]).expect("this is a template for every port")
}
