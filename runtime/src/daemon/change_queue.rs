//! The queue of reloads and upgrades that signals ask for; none is dropped without a log line.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use rustix::process::Signal;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::engine::{DaemonJobError, Engine};
use crate::job::Stop;
use crate::jobs::SuccessorProcess;
use crate::jobs::api::{Command, ReloadCommand, UpgradeCommand};

/// A change that a signal asks for, other than to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// SIGHUP: reload the configuration and all modules.
    Reload,
    /// SIGUSR2: hand over to a new process.
    Upgrade,
}

/// The change in progress, and those that wait. Dropping it cancels the change in progress; the state before it stays.
pub(super) struct Changes {
    engine: Arc<Engine>,
    /// No change begins once it is raised.
    stop: Stop,
    /// At most one.
    under_way: JoinSet<()>,
    /// At most one of each kind: a waiting change reads its files only when it begins, so it includes all edits made
    /// until then.
    waiting: VecDeque<Change>,
}

impl Changes {
    pub(super) fn new(engine: Arc<Engine>, stop: Stop) -> Changes {
        Changes { engine, stop, under_way: JoinSet::new(), waiting: VecDeque::new() }
    }

    /// Begins a change, or queues it behind the one in progress.
    pub(super) fn ask(&mut self, change: Change) {
        if self.under_way.is_empty() && self.stop.reason().is_none() {
            self.begin(change);
        } else if self.waiting.contains(&change) {
            info!("{change}: one is queued already, and will include changes made until it starts");
        } else {
            info!("{change}: queued behind the change in progress");
            self.waiting.push_back(change);
        }
    }

    /// Waits for the end of the change in progress, then begins the next one. Pending while no change is in progress.
    ///
    /// After an upgrade that succeeded none begins; the new process does the rest.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn go_on(&mut self) {
        match self.under_way.join_next().await {
            Some(ended) => {
                if let Err(failure) = ended {
                    error!("a change failed, the previous state stays: {failure}");
                }
                if self.stop.reason().is_none()
                    && let Some(next) = self.waiting.pop_front()
                {
                    self.begin(next);
                }
            }
            None => std::future::pending().await,
        }
    }

    /// Cancels the change in progress, and passes the waiting ones on to the process that has taken over, if any.
    pub(super) fn end(mut self, successor: Option<&SuccessorProcess>) {
        if let Some(successor) = successor {
            self.waiting.drain(..).for_each(|change| change.pass_on(successor));
        }
    }

    fn begin(&mut self, change: Change) {
        let engine = self.engine.clone();
        self.under_way.spawn(async move {
            match change {
                Change::Reload => drop(reload(&engine).await),
                Change::Upgrade => upgrade(&engine).await,
            }
        });
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        for change in &self.waiting {
            warn!("{change}: dropped, because this process is ending");
        }
    }
}

impl Change {
    /// Sends another process the signal that asks for this change.
    pub(super) fn pass_on(self, successor: &SuccessorProcess) {
        let signal = match self {
            Change::Reload => Signal::HUP,
            Change::Upgrade => Signal::USR2,
        };
        match successor.tell(signal) {
            Ok(()) => info!("{self}: passed on to process {}", successor.process),
            Err(failure) => {
                warn!("{self}: cannot be passed on to process {}: {failure:#}", successor.process)
            }
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Change::Reload => "reload (SIGHUP)",
            Change::Upgrade => "upgrade (SIGUSR2)",
        })
    }
}

/// Runs the job `reload` and logs the outcome. Returns `false` if it failed; the old generation then goes on.
pub async fn reload(engine: &Arc<Engine>) -> bool {
    match run(engine, &ReloadCommand::Everything).await {
        Ok(()) => {
            info!("reloaded: generation {}", engine.live().pin().generation);
            true
        }
        Err(failure) => {
            error!("reload failed, the previous generation stays in force:\n{:#}", whole(failure));
            false
        }
    }
}

/// Runs the job `reload` for the secrets alone and logs the outcome. If it fails, the old secrets stay.
pub async fn refresh(engine: &Arc<Engine>) {
    let before = engine.live().pin().generation;
    let refused = run(engine, &ReloadCommand::Secrets).await;
    // A file that was only touched causes no new generation.
    let generation = engine.live().pin().generation;
    if generation != before {
        info!("a secret has changed: generation {generation}");
    }
    if let Err(failure) = refused {
        error!("a changed secret cannot be used, the previous value stays in force: {:#}", whole(failure));
    }
}

/// Runs the job `upgrade` and logs the outcome. If it fails, this process goes on.
async fn upgrade(engine: &Arc<Engine>) {
    if let Err(failure) = run(engine, &UpgradeCommand { force: false, time: None }).await {
        error!("upgrade failed, this process keeps serving: {:#}", whole(failure));
    }
}

async fn run(engine: &Arc<Engine>, command: &impl Command) -> Result<(), DaemonJobError> {
    engine.run(command.job(engine).map_err(DaemonJobError::Fault)?).await
}

/// Turns all that a job wrote to stderr into the error: a configuration may have five mistakes.
pub(super) fn whole(failure: DaemonJobError) -> anyhow::Error {
    match &failure {
        DaemonJobError::Status(_, said) if !said.text().is_empty() => {
            anyhow::anyhow!("{}", said.text().trim_end())
        }
        DaemonJobError::Status(..) | DaemonJobError::Fault(_) => failure.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::NativeJob;
    use crate::job::{Job, Policy, Run, Status, builtin};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::sync::Semaphore;

    /// A change that lasts until the test lets it end.
    struct Held {
        begun: AtomicUsize,
        let_go: Semaphore,
    }

    impl NativeJob for Held {
        fn run(self: Arc<Self>, _engine: Arc<Engine>, _job: Job) -> Run {
            Box::pin(async move {
                self.begun.fetch_add(1, Ordering::SeqCst);
                self.let_go.acquire().await.unwrap().forget();
                Ok(Status::OK)
            })
        }
    }

    #[tokio::test]
    async fn what_is_asked_for_during_a_change_is_done_once_after_it() {
        let engine = Engine::new(4);
        let held = Arc::new(Held { begun: AtomicUsize::new(0), let_go: Semaphore::new(0) });
        engine.register(builtin::RELOAD, Policy::WORK, held.clone()).unwrap();
        let mut changes = Changes::new(engine, Stop::new());
        changes.ask(Change::Reload);
        let begun = async {
            while held.begun.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), begun).await.unwrap();

        for _ in 0..5 {
            changes.ask(Change::Reload);
        }
        held.let_go.add_permits(10);
        changes.go_on().await;
        changes.go_on().await;

        assert_eq!(held.begun.load(Ordering::SeqCst), 2);
        assert!(changes.under_way.is_empty() && changes.waiting.is_empty());
    }
}
