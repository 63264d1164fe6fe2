//! Keeps the job that follows the schedules running for as long as the daemon serves.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::error;

use crate::engine::Engine;
use crate::job::builtin;
use crate::net::{Gate, GateState};

/// The pause before a restart, so that a job that fails at once does not keep a core busy.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Runs the job until the gate drains. If the job ends for another reason, that is logged and the job is started again:
/// otherwise no client would notice that scheduled runs are missing.
///
/// # Cancel safety
/// Dropping the future ends the job.
pub(super) async fn keep(engine: Arc<Engine>, gate: Gate) {
    while gate.state() != GateState::Draining {
        let Ok(job) = engine.job(builtin::RUN_SCHEDULES) else { return };
        // In a task of its own, so that a panic is reported like any other end.
        let mut following = JoinSet::new();
        let running = engine.clone();
        following.spawn(async move { running.run(job).await });
        let why = match following.join_next().await {
            Some(Ok(Err(failure))) => failure.to_string(),
            Some(Err(failure)) => failure.to_string(),
            Some(Ok(Ok(()))) | None if gate.state() == GateState::Draining => return,
            Some(Ok(Ok(()))) | None => "it ended by itself".to_owned(),
        };
        if gate.state() != GateState::Draining {
            error!("schedules pause for {RESTART_PAUSE:?}: {why}");
            sleep(RESTART_PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::NativeJob;
    use crate::job::{Job, Policy, Run};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Panics once, then goes on until the gate drains.
    struct Clumsy {
        begun: AtomicUsize,
        gate: Gate,
    }

    impl NativeJob for Clumsy {
        fn run(self: Arc<Self>, _engine: Arc<Engine>, _job: Job) -> Run {
            Box::pin(async move {
                assert!(self.begun.fetch_add(1, Ordering::SeqCst) > 0, "the first one panics");
                self.gate.draining().await;
                Ok(crate::job::Status::OK)
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_does_not_end_the_schedules_and_a_drain_does() {
        let (engine, gate) = (Engine::new(1), Gate::shut());
        let clumsy = Arc::new(Clumsy { begun: AtomicUsize::new(0), gate: gate.clone() });
        engine.register(builtin::RUN_SCHEDULES, Policy::WORK, clumsy.clone()).unwrap();
        let kept = tokio::spawn(keep(engine, gate.clone()));
        let again = async {
            while clumsy.begun.load(Ordering::SeqCst) < 2 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), again).await.unwrap();

        gate.drain();

        tokio::time::timeout(Duration::from_secs(60), kept).await.unwrap().unwrap();
        assert_eq!(clumsy.begun.load(Ordering::SeqCst), 2);
    }
}
