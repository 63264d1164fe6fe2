//! Charges the CPU time of calls to other servers to the job that makes them.
//!
//! Tasks on the daemon's own workers do the handshakes, the encryption and HTTP. The job pays for this work as
//! for its own, because the server it calls may send without end.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use crate::job::Usage;
use crate::observe::threads::thread_time;

/// The job that pays for a connection, or `None` while no call uses it. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Payer(Arc<Mutex<Option<Arc<Usage>>>>);

/// A future whose CPU time is charged to a job.
pub(super) struct ChargedCall<F> {
    work: Pin<Box<F>>,
    payer: Payer,
}

impl Payer {
    /// Sets the job that pays from now on, or `None`.
    pub(super) fn becomes(&self, usage: Option<Arc<Usage>>) {
        *self.lock() = usage;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Usage>>> {
        // A poisoned lock is harmless: the value is consistent after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Future> ChargedCall<F> {
    pub(super) fn new(payer: Payer, work: F) -> ChargedCall<F> {
        ChargedCall { work: Box::pin(work), payer }
    }
}

impl<F: Future> Future for ChargedCall<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let start = thread_time();
        let outcome = self.work.as_mut().poll(context);
        if let Some(usage) = &*self.payer.lock() {
            usage.spend(thread_time().saturating_sub(start));
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn compute(time: Duration) {
        let start = thread_time();
        while thread_time() - start < time {}
    }

    #[tokio::test]
    async fn a_job_pays_while_its_call_uses_a_connection() {
        const WORK: Duration = Duration::from_millis(5);
        let (usage, payer) = (Arc::new(Usage::default()), Payer::default());
        let work = || ChargedCall::new(payer.clone(), async { compute(WORK) });

        work().await;
        assert_eq!(usage.cpu(), Duration::ZERO);
        payer.becomes(Some(usage.clone()));
        let before = thread_time();
        work().await;
        let spent = thread_time() - before;
        payer.becomes(None);
        work().await;

        assert!((WORK..=spent).contains(&usage.cpu()), "{:?} of {spent:?}", usage.cpu());
    }

    #[tokio::test]
    async fn a_job_does_not_pay_for_a_thread_that_has_no_processor() {
        const AWAY: Duration = Duration::from_millis(50);
        let (usage, payer) = (Arc::new(Usage::default()), Payer::default());
        payer.becomes(Some(usage.clone()));

        ChargedCall::new(payer, async { std::thread::park_timeout(AWAY) }).await;

        assert!(usage.cpu() < AWAY / 2, "{:?}", usage.cpu());
    }
}
