//! Shuts the engine down: refuses new jobs, drains the running ones, runs callbacks, all within time limits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio::time::timeout;

use super::journal::Journal;
use super::running::Running;
use crate::job::{Fault, Job, OnDrain, StopReason};

/// How long stopped jobs may take to end: they only have to be dropped.
const STOPPING: Duration = Duration::from_secs(5);

/// How long all callbacks together may take, as in Docker 1.2.0.
const CALLBACKS: Duration = Duration::from_secs(10);

/// Whether the engine still accepts jobs, and the callbacks for shutdown.
#[derive(Default)]
pub(super) struct Drain {
    draining: AtomicBool,
    callbacks: Mutex<Vec<BoxFuture<'static, ()>>>,
}

/// The result of a shutdown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShutdownOutcome {
    /// Jobs that did not finish in time and were stopped.
    pub stopped: usize,
    /// Whether every callback finished in time.
    pub callbacks_done: bool,
}

impl Drain {
    /// Checks that the engine still accepts this job.
    ///
    /// # Errors
    /// [`Fault::Draining`] once shutdown has begun, unless a drain ignores the job or another job called it.
    pub(super) fn admits(&self, job: &Job) -> Result<(), Fault> {
        let fresh = job.entry.policy.on_drain == OnDrain::Wait && job.parent.is_none();
        let refused = fresh && self.draining.load(Ordering::Acquire);
        if refused { Err(Fault::Draining) } else { Ok(()) }
    }

    /// Adds a callback for shutdown.
    pub(super) fn call_back(&self, callback: BoxFuture<'static, ()>) {
        self.callbacks.lock().unwrap_or_else(PoisonError::into_inner).push(callback);
    }

    /// See [`Engine::shutdown`](super::Engine::shutdown).
    pub(super) async fn shutdown(
        &self,
        running: &Running,
        journal: &Journal,
        grace: Duration,
    ) -> ShutdownOutcome {
        self.draining.store(true, Ordering::Release);
        let mut stopped = 0;
        if timeout(grace, running.emptied()).await.is_err() {
            stopped = running.stop_all(StopReason::Shutdown);
            // Jobs end by being dropped. A job that cannot be dropped must not block the shutdown.
            let _emptied = timeout(STOPPING, running.emptied()).await;
        }
        let callbacks = std::mem::take(&mut *self.callbacks.lock().unwrap_or_else(PoisonError::into_inner));
        let callbacks_done = timeout(CALLBACKS, join_all(callbacks)).await.is_ok();
        journal.close();
        ShutdownOutcome { stopped, callbacks_done }
    }
}
