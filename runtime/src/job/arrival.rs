//! Polls the input from a client, and stops the job's wait when it arrives.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use super::{FromClient, Usage};

/// A waker that also ends the job's wait for its client. The job itself may be busy with something
/// else by then.
struct Arrival {
    usage: Arc<Usage>,
    job: Waker,
}

impl Wake for Arrival {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.usage.waits.end(FromClient::Input);
        self.job.wake_by_ref();
    }
}

/// Polls for input from the client. While it is pending, the job counts as waiting for its client.
pub fn poll_client<T>(
    usage: &Arc<Usage>,
    context: &mut Context<'_>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    let waits = &usage.waits;
    let first = poll(context);
    if first.is_ready() {
        return first;
    }
    // The wait starts before this waker is registered, so input that arrives in between still ends
    // it.
    waits.begin(FromClient::Input);
    let waker = Arc::new(Arrival { usage: usage.clone(), job: context.waker().clone() }).into();
    let second = poll(&mut Context::from_waker(&waker));
    if second.is_ready() {
        waits.end(FromClient::Input);
    }
    second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_that_arrive_end_the_wait_though_the_job_has_turned_to_something_else() {
        let usage = Arc::new(Usage::default());
        let mut left = None;
        let mut context = Context::from_waker(Waker::noop());
        let _pending: Poll<()> = poll_client(&usage, &mut context, |context| {
            left = Some(context.waker().clone());
            Poll::Pending
        });
        assert!(usage.waits.is_waiting());

        left.unwrap().wake();

        assert!(!usage.waits.is_waiting());
    }

    #[test]
    fn what_is_here_is_no_wait() {
        let usage = Arc::new(Usage::default());
        let mut context = Context::from_waker(Waker::noop());
        assert!(poll_client(&usage, &mut context, |_| Poll::Ready(())).is_ready());
        assert!(!usage.waits.is_waiting());
    }
}
