//! Ends the daemon: running requests and jobs have the grace period, and are stopped then.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::engine::{DaemonJobError, Engine};
use crate::http::LAST_RESPONSES;
use crate::job::StopReason;
use crate::jobs::DaemonState;
use crate::net::{GateState, Phase};
use crate::observe::{counted, systemd};

/// How a daemon ended that did not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// All requests and jobs were finished.
    Drained,
    /// The grace period was over before all were finished.
    CutOff,
    /// A second signal, with this number, ended the daemon at once.
    Signalled(u8),
}

impl Exit {
    /// Returns the exit status, which `serve --help` explains.
    pub fn status(self) -> u8 {
        match self {
            Exit::Drained => 0,
            Exit::CutOff => 3,
            // The convention of shells for a process that a signal ended.
            Exit::Signalled(signal) => 128 + signal,
        }
    }
}

/// Drains the daemon: load balancers learn that it is going away, then connections finish, then jobs. Every client
/// whose connection was accepted gets its response.
pub(super) async fn drain(
    engine: &Arc<Engine>,
    state: &DaemonState,
    mut serving: Option<JoinHandle<Result<(), DaemonJobError>>>,
) -> Exit {
    let config = state.config.load_full();
    let (delay, grace) = (config.shutdown_delay, config.grace);
    if state.successor().is_none() {
        systemd::stopping();
        let served_clients = state.server.gate.state() == GateState::Open;
        state.server.gate.drain();
        state.sockets.end(Phase::Draining);
        if !delay.is_zero() && served_clients {
            info!("draining: connections are accepted for {delay:?} more, and probes are told");
            sleep(delay).await;
        }
    }
    info!("draining: requests under way have {grace:?}");
    if systemd::keeps_descriptors() {
        // systemd keeps the sockets, and the next process finds them at their paths.
        state.leave_files();
    }
    let deadline = Instant::now() + grace;
    state.sockets.end(Phase::Over);
    let served = match &mut serving {
        Some(serving) => timeout(grace, serving).await.is_ok(),
        None => true,
    };
    let (mut cut, mut answered) = (0, served);
    if let Some(serving) = serving.filter(|_| !served) {
        // The connections outlive their jobs, to tell their clients.
        cut = engine.stop_handlers(StopReason::Shutdown);
        answered = timeout(LAST_RESPONSES, serving).await.is_ok();
    }
    let ending = engine.shutdown(deadline.saturating_duration_since(Instant::now())).await;
    if !ending.callbacks_done {
        warn!("a shutdown callback did not finish in time");
    }
    // If serving was not over, its job is among those that were stopped, and is not counted here.
    let stopped = cut.max(ending.stopped.saturating_sub(usize::from(!answered)));
    match (served, stopped) {
        (true, 0) => info!("drained"),
        (false, 0) => warn!("the grace period is over: connections were cut off"),
        (_, stopped) => warn!("the grace period is over: stopped {}", counted(stopped, "job")),
    }
    if served && stopped == 0 { Exit::Drained } else { Exit::CutOff }
}
