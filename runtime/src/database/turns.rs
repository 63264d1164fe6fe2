//! Who has a connection next: handlers take turns, and no handler has all of many connections.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// From this number of connections on, a handler leaves one of them to others.
const MANY: usize = 4;

/// The connections of a database, as rights to have one.
pub(super) struct ConnectionTurns {
    max: usize,
    state: Mutex<TurnState>,
}

/// The right to have a connection. Dropping it gives the turn to the next.
pub(super) struct ConnectionTurn {
    turns: Arc<ConnectionTurns>,
    line: Option<usize>,
}

/// Lines are handlers; `None` stands for operators, who may have every connection.
#[derive(Default)]
struct TurnState {
    free: usize,
    /// Free connections that are for lines without one.
    reserve: usize,
    held: HashMap<Option<usize>, usize>,
    /// The lines that wait. The line whose turn it is comes first.
    waiting: VecDeque<TurnLine>,
}

/// The waiters of one line, the oldest first.
struct TurnLine {
    line: Option<usize>,
    waiting: VecDeque<oneshot::Sender<ConnectionTurn>>,
}

impl ConnectionTurns {
    pub(super) fn new(max: usize) -> Arc<ConnectionTurns> {
        let reserve = usize::from(max >= MANY);
        Arc::new(ConnectionTurns {
            max,
            state: Mutex::new(TurnState { free: max, reserve, ..TurnState::default() }),
        })
    }

    fn state(&self) -> MutexGuard<'_, TurnState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many connections are in use.
    pub(super) fn in_use(&self) -> usize {
        self.max.saturating_sub(self.state().free)
    }

    /// Waits for a turn.
    ///
    /// # Cancel safety
    /// Who leaves loses the place in the line, and nothing else.
    pub(super) async fn take(self: &Arc<Self>, line: Option<usize>) -> ConnectionTurn {
        loop {
            let turn = {
                let mut state = self.state();
                if state.may_take(line) {
                    state.take(line);
                    return ConnectionTurn { turns: self.clone(), line };
                }
                state.wait(line)
            };
            // It is dropped without a turn only if this had left.
            if let Ok(turn) = turn.await {
                return turn;
            }
        }
    }
}

impl TurnState {
    fn may_take(&self, line: Option<usize>) -> bool {
        let is_first = line.is_none() || !self.held.contains_key(&line);
        self.free > if is_first { 0 } else { self.reserve }
    }

    fn take(&mut self, line: Option<usize>) {
        self.free -= 1;
        *self.held.entry(line).or_default() += 1;
    }

    fn give_back(&mut self, line: Option<usize>) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(&line) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&line);
            }
        }
    }

    fn wait(&mut self, line: Option<usize>) -> oneshot::Receiver<ConnectionTurn> {
        let (sender, receiver) = oneshot::channel();
        match self.waiting.iter_mut().find(|waiting| waiting.line == line) {
            Some(waiting) => {
                waiting.drop_closed();
                waiting.waiting.push_back(sender);
            }
            None => self.waiting.push_back(TurnLine { line, waiting: VecDeque::from([sender]) }),
        }
        receiver
    }

    /// Takes a connection for the line whose turn it is. `None` if nobody waits that may have one.
    fn next(&mut self) -> Option<(oneshot::Sender<ConnectionTurn>, Option<usize>)> {
        for _ in 0..self.waiting.len() {
            let mut first = self.waiting.pop_front()?;
            first.drop_closed();
            let line = first.line;
            let sender = if self.may_take(line) { first.waiting.pop_front() } else { None };
            if !first.waiting.is_empty() {
                self.waiting.push_back(first);
            }
            if let Some(sender) = sender {
                self.take(line);
                return Some((sender, line));
            }
        }
        None
    }
}

impl TurnLine {
    /// Drops the oldest as long as they have left. All wait for the same time.
    fn drop_closed(&mut self) {
        while self.waiting.front().is_some_and(oneshot::Sender::is_closed) {
            self.waiting.pop_front();
        }
    }
}

impl Drop for ConnectionTurn {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        state.give_back(self.line);
        let next: Vec<_> = std::iter::from_fn(|| state.next()).collect();
        drop(state);
        for (sender, line) in next {
            // If the receiver has just left, the turn comes back, and goes to another.
            drop(sender.send(ConnectionTurn { turns: self.turns.clone(), line }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Takes a turn, or waits for it.
    fn poll(turn: &mut (impl Future<Output = ConnectionTurn> + Unpin)) -> Option<ConnectionTurn> {
        match std::pin::Pin::new(turn).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    fn take(turns: &Arc<ConnectionTurns>, line: usize) -> Option<ConnectionTurn> {
        poll(&mut pin!(turns.take(Some(line))))
    }

    #[test]
    fn a_handler_leaves_a_connection_to_others() {
        let turns = ConnectionTurns::new(4);

        let many: Vec<_> = (0..9).map_while(|_| take(&turns, 1)).collect();
        let other = take(&turns, 2);

        assert_eq!((many.len(), other.is_some(), turns.in_use()), (3, true, 4));
        assert!(take(&turns, 3).is_none());
        drop((many, other));
        assert_eq!(turns.in_use(), 0);
        // Too few to leave one, and an operator may have them all.
        let few = ConnectionTurns::new(3);
        assert_eq!((0..9).map_while(|_| take(&few, 1)).collect::<Vec<_>>().len(), 3);
        let all: Vec<_> = (0..9).map_while(|_| poll(&mut pin!(turns.take(None)))).collect();
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn handlers_take_turns_and_who_has_left_is_passed_over() {
        let turns = ConnectionTurns::new(1);
        let held = take(&turns, 1).unwrap();
        let (mut second, mut third, mut fourth) =
            (pin!(turns.take(Some(1))), pin!(turns.take(Some(1))), pin!(turns.take(Some(2))));
        assert!(poll(&mut second).is_none() && poll(&mut third).is_none());
        // Has left before its turn.
        assert!(take(&turns, 3).is_none());
        assert!(poll(&mut fourth).is_none());

        drop(held);
        let one = poll(&mut second).unwrap();
        assert!(poll(&mut third).is_none() && poll(&mut fourth).is_none());
        drop(one);
        assert!(poll(&mut third).is_none(), "the handler with many came twice in a row");
        let other = poll(&mut fourth).unwrap();
        drop(other);

        assert!(poll(&mut third).is_some());
        assert_eq!(turns.in_use(), 0);
    }
}
