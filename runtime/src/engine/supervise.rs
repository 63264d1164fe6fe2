//! The limits on a run that its handler cannot be trusted to keep itself.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::admission::Slot;
use super::lane::{Lane, Ticket};
use crate::job::{Entry, Fault, Job, JobId, Kind, Run, Status, Usage, thread_time};
use crate::observe::profile;

/// What a job may compute before it is one that computes: a fraction of a tick, and many times what
/// a job takes that only answers.
const MOMENT: Duration = Duration::from_millis(2);

/// From this much memory on, one instruction of a guest can hold a thread for long: nothing
/// interrupts a `memory.fill`, and where pages are touched for the first time it took 2 s for 1 GiB.
const VAST: usize = 256 << 20;

/// Runs a job until it ends, is stopped, or has used up its time.
///
/// # Errors
/// [`Fault::Stopped`], [`Fault::TimedOut`], [`Fault::CpuExceeded`], a panic of ours as
/// [`Fault::Host`], or what the handler itself ends with.
pub(super) async fn run(job: Job, slot: Slot, lane: &Lane) -> Result<Status, Fault> {
    let (id, stop, entry) = (job.id, job.stop.clone(), job.entry.clone());
    let (usage, spent) = (job.usage.clone(), job.usage.clone());
    let run = entry.handler.clone().run(job);
    let work = Metered { id, run, entry: entry.clone(), usage, clock: Clock::Wall, _slot: slot };
    let mut place = Place::Here(work);
    if entry.kind != Kind::Native && (entry.limits.memory >= VAST || entry.record.pace() > MOMENT) {
        place = place.moved(&entry, lane);
    }
    tokio::select! {
        biased;
        outcome = poll_fn(|context| place.poll(context, &entry, lane)) => outcome,
        reason = stop.raised() => Err(Fault::Stopped(reason)),
        limit = expiry(entry.limits.time, &spent) => Err(Fault::TimedOut(limit)),
    }
}

/// Waits until the job has used up its time, in which its waits for its client are not counted; without a
/// limit, for ever.
async fn expiry(limit: Option<Duration>, usage: &Usage) -> Duration {
    match limit {
        Some(limit) => {
            usage.waits.spent(limit).await;
            limit
        }
        None => std::future::pending().await,
    }
}

/// Where a job runs.
enum Place {
    /// Where it was started.
    Here(Metered),
    /// In the slow lane.
    Lane(Ticket<Result<Status, Fault>>),
    /// On its way there.
    Between,
}

impl Place {
    fn poll(&mut self, context: &mut Context<'_>, entry: &Entry, lane: &Lane) -> Poll<Result<Status, Fault>> {
        if let Place::Here(work) = self {
            let outcome = Pin::new(&mut *work).poll(context);
            if outcome.is_ready() || entry.kind == Kind::Native || work.usage.cpu() < MOMENT {
                return outcome;
            }
            *self = std::mem::replace(self, Place::Between).moved(entry, lane);
        }
        match self {
            Place::Lane(ticket) => {
                let outcome = ready!(ticket.poll(context));
                Poll::Ready(outcome.unwrap_or_else(|| Err(panicked())))
            }
            // A panic of ours on the way there.
            Place::Here(_) | Place::Between => Poll::Ready(Err(panicked())),
        }
    }

    fn moved(self, entry: &Entry, lane: &Lane) -> Place {
        match self {
            Place::Here(mut work) => {
                work.clock = Clock::Thread;
                Place::Lane(lane.enter(&entry.name, work))
            }
            moved @ (Place::Lane(_) | Place::Between) => moved,
        }
    }
}

/// A run, and the account of the time it spends on a processor, which ends it at the limit.
///
/// A run is polled only while it computes: a wait for a client, a file or a timer is a return from
/// the poll. A guest that computes without waiting returns at every tick of the epoch.
struct Metered {
    id: JobId,
    // Dropped before the slot, so that no more instances live than there are slots.
    run: Run,
    entry: Arc<Entry>,
    usage: Arc<Usage>,
    clock: Clock,
    _slot: Slot,
}

/// What tells the time on a processor.
#[derive(Clone, Copy)]
enum Clock {
    /// The wall clock, which costs nothing to read: good enough for what is over in a moment.
    Wall,
    /// The thread's own, which stands while another thread has the processor.
    Thread,
}

impl Future for Metered {
    type Output = Result<Status, Fault>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let _working = profile::work(this.id.0, this.entry.name.as_str());
        let start = this.clock.now();
        // A panic of ours ends this job alone; the store it used is dropped with it.
        let outcome = catch_unwind(AssertUnwindSafe(|| this.run.as_mut().poll(context)));
        let outcome = outcome.unwrap_or_else(|_| Poll::Ready(Err(panicked())));
        let spent = this.usage.spend(this.clock.now().saturating_sub(start));
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
    /// Returns a time of which only differences mean anything.
    fn now(self) -> Duration {
        match self {
            Clock::Wall => {
                // Any fixed point before now does.
                static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
                START.elapsed()
            }
            Clock::Thread => thread_time(),
        }
    }
}

fn panicked() -> Fault {
    Fault::Host(anyhow::anyhow!("the daemon failed while it ran the job: see the log"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::engine::{Engine, Failure};
    use crate::job::{Fault, Handler, Job, Run};

    struct Panics;

    impl Handler for Panics {
        fn run(self: Arc<Self>, _job: Job) -> Run {
            Box::pin(async { panic!("as a bug would") })
        }
    }

    #[tokio::test]
    async fn a_panic_of_ours_ends_its_job_and_nothing_else() {
        let engine = Engine::new(1);
        engine.registry().register("panics", Arc::new(Panics)).unwrap();

        for _ in 0..2 {
            let failure = engine.run(engine.job("panics").unwrap()).await.unwrap_err();

            assert!(matches!(failure, Failure::Fault(Fault::Host(_))), "{failure}");
        }
    }
}
