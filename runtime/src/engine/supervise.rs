//! The limits on a run that its handler cannot be trusted to keep itself.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::time::sleep;

use crate::job::{Fault, Job, Run, Status, Usage};

/// Runs a job until it ends, is stopped, or has used up its time.
///
/// # Errors
/// [`Fault::Stopped`], [`Fault::TimedOut`], [`Fault::CpuExceeded`], a panic of ours as
/// [`Fault::Host`], or what the handler itself ends with.
pub(super) async fn run(job: Job) -> Result<Status, Fault> {
    let (stop, usage) = (job.stop.clone(), job.usage.clone());
    let (time, cpu) = (job.entry.limits.time, job.entry.limits.cpu);
    let handler = job.entry.handler.clone();
    let work = metered(handler.run(job), cpu, usage);
    // A panic of ours ends this job alone; the store it used is dropped with it.
    let work = AssertUnwindSafe(work).catch_unwind().map(|caught| caught.unwrap_or_else(|_| Err(panicked())));
    tokio::select! {
        biased;
        outcome = work => outcome,
        reason = stop.raised() => Err(Fault::Stopped(reason)),
        limit = expiry(time) => Err(Fault::TimedOut(limit)),
    }
}

fn panicked() -> Fault {
    Fault::Host(anyhow::anyhow!("the daemon failed while it ran the job: see the log"))
}

/// Waits until the wall time is over; without a limit, for ever.
async fn expiry(limit: Option<Duration>) -> Duration {
    match limit {
        Some(limit) => {
            sleep(limit).await;
            limit
        }
        None => std::future::pending().await,
    }
}

/// Adds up the time the run spends on a processor and ends it at the limit.
///
/// A run is polled only while it computes: a wait for a client, a file or a timer is a return from
/// the poll. A guest that computes without waiting returns at every tick of the epoch.
async fn metered(run: Run, limit: Option<Duration>, usage: Arc<Usage>) -> Result<Status, Fault> {
    let mut run = pin!(run);
    poll_fn(|context| {
        let start = Instant::now();
        let outcome = run.as_mut().poll(context);
        let spent = usage.spend(start.elapsed());
        match limit {
            Some(limit) if outcome.is_pending() && spent > limit => {
                Poll::Ready(Err(Fault::CpuExceeded(limit)))
            }
            _ => outcome,
        }
    })
    .await
}
