//! A future that is polled only once it was woken.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Polls a future at first, and then each time that it was woken.
///
/// A connection waits for rare events besides its next byte. Each of their futures takes locks when it is polled, and a
/// connection is polled twice a request.
pub(in crate::http) struct PollOnWake<F> {
    future: F,
    alarm: Arc<Alarm>,
    /// The task that the alarm wakes, for a comparison without the lock.
    task: Option<Waker>,
}

/// What the future wakes.
struct Alarm {
    /// Whether the future was woken since its last poll.
    is_raised: AtomicBool,
    /// The task that waits. It stays here when it is woken, since most futures are woken more than once. An `AtomicWaker`
    /// would give it away, and each poll would have to register it anew.
    task: Mutex<Option<Waker>>,
}

impl<F> PollOnWake<F> {
    pub(in crate::http) fn new(future: F) -> PollOnWake<F> {
        let alarm = Alarm { is_raised: AtomicBool::new(true), task: Mutex::default() };
        PollOnWake { future, alarm: Arc::new(alarm), task: None }
    }
}

impl Alarm {
    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_raised.store(true, Ordering::Release);
        // Woken behind the lock.
        let task = self.lock().clone();
        task.into_iter().for_each(Waker::wake);
    }
}

impl<F: Future + Unpin> Future for PollOnWake<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let PollOnWake { future, alarm, task } = &mut *self;
        if !task.as_ref().is_some_and(|task| task.will_wake(context.waker())) {
            // Before the alarm is looked at: if it is raised later, it wakes this task.
            let _former = alarm.lock().replace(context.waker().clone());
            *task = Some(context.waker().clone());
        }
        // Lowered before the poll: the future may be woken while it is polled. Most polls find it lowered, and only read.
        let is_raised =
            alarm.is_raised.load(Ordering::Acquire) && alarm.is_raised.swap(false, Ordering::AcqRel);
        if !is_raised {
            return Poll::Pending;
        }
        let waker = Waker::from(alarm.clone());
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::time::Duration;

    use futures_util::task::noop_waker;
    use tokio::sync::oneshot;
    use tokio::task::yield_now;
    use tokio::time::{sleep, timeout};

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

    #[tokio::test(start_paused = true)]
    async fn a_future_that_waits_for_one_event_after_another_is_woken_for_each() {
        let events = async {
            for _ in 0..3 {
                yield_now().await;
                sleep(Duration::from_secs(1)).await;
            }
        };
        let events = pin!(events);

        let all = timeout(Duration::from_secs(60), PollOnWake::new(events)).await;

        assert!(all.is_ok(), "the task was not woken again");
    }
}
