//! The gate that holds back accepting until the daemon is ready.

use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// Holds back every accept until the daemon is ready, and again once it drains.
///
/// Clones share one gate. Its state moves one way only: shut, open, draining. It may drain without having opened.
/// Invariant: no call moves the state back, so a caller that saw `Draining` need not look again.
#[derive(Debug, Clone)]
pub struct Gate {
    // A `watch`, not a `Notify`: a late waiter still sees the current state.
    state: Arc<watch::Sender<GateState>>,
}

/// The state of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateState {
    /// Connections wait in the kernel's accept queue.
    Shut,
    /// Connections are accepted.
    Open,
    /// The daemon is shutting down: no more connections are accepted.
    Draining,
}

/// The result of [`Gate::open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// This call opened the gate.
    Now,
    /// The gate was open.
    Already,
    /// The gate was draining, and stays so.
    TooLate,
}

/// The error of waiting for a gate that drains: it will never open again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draining;

impl Gate {
    /// Makes a gate that is shut.
    pub fn shut() -> Gate {
        Gate { state: Arc::new(watch::Sender::new(GateState::Shut)) }
    }

    /// Opens the gate, unless it is open or draining. Never blocks.
    pub fn open(&self) -> Opened {
        let mut found = Opened::Now;
        self.state.send_if_modified(|state| {
            found = match *state {
                GateState::Shut => Opened::Now,
                GateState::Open => Opened::Already,
                GateState::Draining => Opened::TooLate,
            };
            if found == Opened::Now {
                *state = GateState::Open;
            }
            found == Opened::Now
        });
        found
    }

    /// Closes the gate for good, whether or not it was ever open. Never blocks.
    pub fn drain(&self) {
        self.state
            .send_if_modified(|state| std::mem::replace(state, GateState::Draining) != GateState::Draining);
    }

    /// Returns the state of the gate, at the cost of one uncontended read lock.
    pub fn state(&self) -> GateState {
        *self.state.borrow()
    }

    /// Waits until the gate is open.
    ///
    /// # Errors
    /// [`Draining`] when the gate drains, before or during the wait.
    ///
    /// # Cancel safety
    /// A dropped wait loses nothing.
    pub async fn opened(&self) -> Result<(), Draining> {
        match self.wait_for(|state| state != GateState::Shut).await {
            GateState::Open => Ok(()),
            GateState::Shut | GateState::Draining => Err(Draining),
        }
    }

    /// Waits until the gate drains.
    ///
    /// # Cancel safety
    /// A dropped wait loses nothing.
    pub async fn draining(&self) {
        self.wait_for(|state| state == GateState::Draining).await;
    }

    async fn wait_for(&self, wanted: impl Fn(GateState) -> bool) -> GateState {
        // The wait fails only if the sender is dropped, and `self` holds the sender.
        match self.state.subscribe().wait_for(|state| wanted(*state)).await {
            Ok(state) => *state,
            Err(_) => GateState::Draining,
        }
    }
}

impl fmt::Display for GateState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            GateState::Shut => "shut",
            GateState::Open => "open",
            GateState::Draining => "draining",
        })
    }
}

impl fmt::Display for Draining {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the gate is draining: the daemon is shutting down")
    }
}

impl std::error::Error for Draining {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn opening_twice_says_already() {
        let gate = Gate::shut();

        let found = [gate.open(), gate.clone().open()];

        assert_eq!(found, [Opened::Now, Opened::Already]);
        assert_eq!(gate.state(), GateState::Open);
    }

    #[test]
    fn a_gate_that_drains_does_not_open() {
        let gate = Gate::shut();
        gate.drain();
        gate.drain();

        assert_eq!(gate.open(), Opened::TooLate);
        assert_eq!(gate.state().to_string(), "draining");
        assert_eq!(poll_once(gate.opened()), Poll::Ready(Err(Draining)));
    }

    #[test]
    fn a_shut_gate_holds_and_a_cancelled_wait_loses_nothing() {
        let gate = Gate::shut();
        assert_eq!(poll_once(gate.opened()), Poll::Pending);
        assert_eq!(poll_once(gate.draining()), Poll::Pending);

        gate.open();

        assert_eq!(poll_once(gate.opened()), Poll::Ready(Ok(())));
        assert_eq!(poll_once(gate.draining()), Poll::Pending);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_of_many_callers_opens_and_every_waiter_wakes() {
        let gate = Gate::shut();
        let spawn_waiter = |gate: Gate| tokio::spawn(async move { gate.opened().await });
        let waiters: Vec<_> = (0..100).map(|_| spawn_waiter(gate.clone())).collect();

        let spawn_opener = |gate: Gate| tokio::spawn(async move { gate.open() });
        let openers: Vec<_> = (0..100).map(|_| spawn_opener(gate.clone())).collect();

        let mut now = 0;
        for opener in openers {
            now += usize::from(opener.await.unwrap() == Opened::Now);
        }
        assert_eq!(now, 1);
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), Ok(()));
        }
    }

    #[tokio::test]
    async fn draining_wakes_who_waits_for_the_opening() {
        let gate = Gate::shut();
        let waiter = tokio::spawn({
            let gate = gate.clone();
            async move { gate.opened().await }
        });

        gate.drain();

        assert_eq!(waiter.await.unwrap(), Err(Draining));
        gate.draining().await;
    }
}
