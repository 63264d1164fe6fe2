//! Enforces the limits of a run that its handler cannot enforce itself.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::admission::PoolPermit;
use super::slow_lane::{Lane, Ticket};
use crate::job::{Fault, HandlerVersion, Job, JobId, Kind, Run, Status, Usage};
use crate::observe::profile;
use crate::observe::threads::thread_time;

/// The CPU time after which a job moves to the slow lane: a fraction of a tick, and many times what a job
/// takes that only answers.
const MOMENT: Duration = Duration::from_millis(2);

/// With this much memory, one instruction of a guest can block a thread for long: `memory.fill` cannot be
/// interrupted, and touching 1 GiB of new pages took 2 s.
const VAST: usize = 256 << 20;

/// Runs a job until it ends, is stopped, or reaches its time limit.
///
/// # Errors
/// [`Fault::Stopped`], [`Fault::TimedOut`], [`Fault::CpuExceeded`], a panic of the daemon as
/// [`Fault::Host`], or the fault of the handler itself.
pub(super) fn run(
    job: Box<Job>,
    usage: &Usage,
    slot: PoolPermit,
    lane: &Lane,
) -> impl Future<Output = Result<Status, Fault>> {
    // The job is given to its handler here, so the future does not hold it.
    let (id, stop, entry, account) = (job.id, job.stop.clone(), job.entry.clone(), job.usage.clone());
    let limit = entry.limits.time;
    let is_long = entry.kind != Kind::Native && (entry.limits.memory >= VAST || entry.record.pace() > MOMENT);
    let run = entry.handler.clone().run(job);
    let mut place = RunsOn::Here(Metered { id, run, entry, usage: account, clock: Clock::Wall, _slot: slot });
    if is_long {
        place = place.moved(lane);
    }
    async move {
        tokio::select! {
            biased;
            outcome = poll_fn(|context| place.poll(context, lane)) => outcome,
            reason = stop.raised() => Err(Fault::Stopped(reason)),
            limit = expiry(limit, usage) => Err(Fault::TimedOut(limit)),
        }
    }
}

/// Waits until the job has used up its time limit. Waits for its client do not count. Without a limit,
/// waits for ever.
async fn expiry(limit: Option<Duration>, usage: &Usage) -> Duration {
    match limit {
        Some(limit) => {
            usage.waits.spent(limit).await;
            limit
        }
        None => std::future::pending().await,
    }
}

/// Where a job is polled.
enum RunsOn {
    /// In the task that started it.
    Here(Metered),
    /// In the slow lane.
    Lane(Ticket<Result<Status, Fault>>),
    /// On its way to the slow lane.
    Between,
}

impl RunsOn {
    fn poll(&mut self, context: &mut Context<'_>, lane: &Lane) -> Poll<Result<Status, Fault>> {
        if let RunsOn::Here(work) = self {
            let outcome = Pin::new(&mut *work).poll(context);
            if outcome.is_ready() || work.entry.kind == Kind::Native || work.usage.cpu() < MOMENT {
                return outcome;
            }
            *self = std::mem::replace(self, RunsOn::Between).moved(lane);
        }
        match self {
            RunsOn::Lane(ticket) => {
                let outcome = ready!(ticket.poll(context));
                Poll::Ready(outcome.unwrap_or_else(|| Err(panicked())))
            }
            // Moving the job panicked.
            RunsOn::Here(_) | RunsOn::Between => Poll::Ready(Err(panicked())),
        }
    }

    fn moved(self, lane: &Lane) -> RunsOn {
        match self {
            RunsOn::Here(mut work) => {
                work.clock = Clock::Thread;
                let entry = work.entry.clone();
                RunsOn::Lane(lane.enter(&entry.name, work))
            }
            moved @ (RunsOn::Lane(_) | RunsOn::Between) => moved,
        }
    }
}

/// A run with its CPU time account, which ends the run at the limit.
///
/// A run is polled only while it computes: to wait for a client, a file or a timer, it returns from the
/// poll. A guest that computes without waiting returns at every epoch tick.
struct Metered {
    id: JobId,
    // Dropped before the slot: there are never more instances than slots.
    run: Run,
    entry: Arc<HandlerVersion>,
    usage: Arc<Usage>,
    clock: Clock,
    _slot: PoolPermit,
}

/// The clock that measures CPU time.
#[derive(Clone, Copy)]
enum Clock {
    /// The wall clock, which costs almost nothing to read and is accurate enough for short jobs.
    Wall,
    /// The CPU clock of the thread, which stops while another thread has the processor.
    Thread,
}

impl Future for Metered {
    type Output = Result<Status, Fault>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let _working = profile::work(this.id.0, this.entry.name.as_str());
        // A panic of the daemon ends this job only; the store that it used is dropped with it.
        let poll = || catch_unwind(AssertUnwindSafe(|| this.run.as_mut().poll(context)));
        let (outcome, time) = this.clock.time(poll);
        let outcome = outcome.unwrap_or_else(|_| Poll::Ready(Err(panicked())));
        let spent = this.usage.spend(time);
        match this.entry.limits.cpu {
            Some(limit) if outcome.is_pending() && spent > limit => {
                Poll::Ready(Err(Fault::CpuExceeded(limit)))
            }
            _ => outcome,
        }
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.entry.record.spent(self.usage.cpu());
    }
}

impl Clock {
    /// Does some work and returns how long it took.
    fn time<T>(self, work: impl FnOnce() -> T) -> (T, Duration) {
        match self {
            Clock::Wall => {
                let start = Instant::now();
                (work(), start.elapsed())
            }
            Clock::Thread => {
                let start = thread_time();
                (work(), thread_time().saturating_sub(start))
            }
        }
    }
}

fn panicked() -> Fault {
    Fault::Host(anyhow::anyhow!("the daemon failed while it ran the job: see the log"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::engine::{DaemonJobError, Engine, NativeJob};
    use crate::job::{Fault, Job, Policy, Run};

    struct Panics;

    impl NativeJob for Panics {
        fn run(self: Arc<Self>, _engine: Arc<Engine>, _job: Job) -> Run {
            Box::pin(async { panic!("as a bug would") })
        }
    }

    #[tokio::test]
    async fn a_panic_of_ours_ends_its_job_and_nothing_else() {
        let engine = Engine::new(1);
        engine.register("panics", Policy::WORK, Arc::new(Panics)).unwrap();

        for _ in 0..2 {
            let failure = engine.run(engine.job("panics").unwrap()).await.unwrap_err();

            assert!(matches!(failure, DaemonJobError::Fault(Fault::Host(_))), "{failure}");
        }
    }
}
