//! A future that is polled only once it was woken.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Polls a future at first, and then each time that it was woken.
///
/// A connection waits for rare events besides its next byte. Each of their futures takes locks when it is polled, and a
/// connection is polled twice a request.
pub(in crate::http) struct PollOnWake<F> {
    future: F,
    alarm: Arc<Alarm>,
    /// The task that the alarm wakes.
    task: Option<Waker>,
}

/// What the future wakes.
#[derive(Default)]
struct Alarm {
    /// Whether the future was woken since its last poll.
    is_raised: AtomicBool,
    task: AtomicWaker,
}

impl<F> PollOnWake<F> {
    pub(in crate::http) fn new(future: F) -> PollOnWake<F> {
        let alarm = Alarm { is_raised: AtomicBool::new(true), task: AtomicWaker::new() };
        PollOnWake { future, alarm: Arc::new(alarm), task: None }
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_raised.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F: Future + Unpin> Future for PollOnWake<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let PollOnWake { future, alarm, task } = &mut *self;
        if !task.as_ref().is_some_and(|task| task.will_wake(context.waker())) {
            // Before the alarm is looked at: one that is raised later wakes this task.
            alarm.task.register(context.waker());
            *task = Some(context.waker().clone());
        }
        if !alarm.is_raised.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        // Before the poll: the future may be woken while it is polled.
        alarm.is_raised.store(false, Ordering::Release);
        let waker = Waker::from(alarm.clone());
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use futures_util::task::noop_waker;
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_future_is_polled_at_first_and_then_only_once_it_was_woken() {
        let (mut polls, mut kept) = (0, None);
        let counted = poll_fn(|context| {
            polls += 1;
            kept = Some(context.waker().clone());
            if polls == 3 { Poll::Ready(polls) } else { Poll::Pending }
        });
        let mut waiting = PollOnWake::new(counted);
        let alarm = waiting.alarm.clone();
        let waker = noop_waker();
        let mut poll = || Pin::new(&mut waiting).poll(&mut Context::from_waker(&waker));

        assert_eq!([poll(), poll(), poll()], [Poll::Pending; 3]);
        alarm.wake_by_ref();
        assert_eq!([poll(), poll()], [Poll::Pending; 2]);
        alarm.wake_by_ref();

        assert_eq!(poll(), Poll::Ready(3));
    }

    #[tokio::test]
    async fn the_task_that_polled_last_is_woken() {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = pin!(PollOnWake::new(receiver));
        let other = noop_waker();
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&other)).is_pending());
        let sending = tokio::spawn(async { sender.send(7) });

        assert_eq!(waiting.await, Ok(7));
        assert_eq!(sending.await.unwrap(), Ok(()));
    }
}
