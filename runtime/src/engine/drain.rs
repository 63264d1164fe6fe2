//! The end of the engine: refuse new jobs, wait for those that run, call back, all within bounds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio::time::timeout;

use super::journal::Journal;
use super::running::Running;
use crate::job::{Fault, Job, StopReason, Tenure};

/// How long jobs that were told to stop may take: they only have to be dropped.
const STOPPING: Duration = Duration::from_secs(5);

/// How long all callbacks together may take, as in Docker 1.2.0.
const CALLBACKS: Duration = Duration::from_secs(10);

/// Whether the engine still takes jobs, and what to do once it no longer does.
#[derive(Default)]
pub(super) struct Drain {
    draining: AtomicBool,
    callbacks: Mutex<Vec<BoxFuture<'static, ()>>>,
}

/// How the engine came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ending {
    /// Jobs that did not finish in time and were stopped.
    pub stopped: usize,
    /// Whether every callback came to its end.
    pub callbacks_done: bool,
}

impl Drain {
    /// Checks that a new job of this tenure is taken.
    ///
    /// # Errors
    /// [`Fault::Draining`] once shutdown has begun, unless the job only attends to it, or is part of
    /// one that runs.
    pub(super) fn admits(&self, job: &Job, tenure: Tenure) -> Result<(), Fault> {
        let fresh = tenure == Tenure::Service && job.parent.is_none();
        let refused = fresh && self.draining.load(Ordering::Acquire);
        if refused { Err(Fault::Draining) } else { Ok(()) }
    }

    /// Adds something to do at shutdown.
    pub(super) fn call_back(&self, callback: BoxFuture<'static, ()>) {
        self.callbacks.lock().unwrap_or_else(PoisonError::into_inner).push(callback);
    }

    /// See [`Engine::shutdown`](super::Engine::shutdown).
    pub(super) async fn shutdown(&self, running: &Running, journal: &Journal, grace: Duration) -> Ending {
        self.draining.store(true, Ordering::Release);
        let mut stopped = 0;
        if timeout(grace, running.emptied()).await.is_err() {
            stopped = running.stop_all(StopReason::Shutdown);
            // Jobs end by being dropped; one that cannot be dropped must not keep the daemon here.
            let _emptied = timeout(STOPPING, running.emptied()).await;
        }
        let callbacks = std::mem::take(&mut *self.callbacks.lock().unwrap_or_else(PoisonError::into_inner));
        let callbacks_done = timeout(CALLBACKS, join_all(callbacks)).await.is_ok();
        journal.close();
        Ending { stopped, callbacks_done }
    }
}
