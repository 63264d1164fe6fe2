//! Room in the queue of writes of a store. Handlers take turns: one whose writes wait for room does not hold up another.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Bytes of writes that wait for their commit, or for the answer of a server.
const QUEUE: usize = 28 << 20;

/// The same for small writes, which do not wait for large ones to have room.
const SMALL_QUEUE: usize = 4 << 20;

/// The most bytes of a small write.
const SMALL: usize = 64 << 10;

/// The unit in which the queue is counted. Every write counts for one at least.
const UNIT: usize = 1 << 10;

/// The queues of a store: one for large writes, and one for small ones.
pub(super) struct WriteRooms {
    large: Arc<WriteRoom>,
    small: Arc<WriteRoom>,
}

/// A queue that holds so many units of bytes.
pub(super) struct WriteRoom(Mutex<RoomState>);

/// A part of the queue. Dropping it gives the room to those that wait.
pub(super) struct RoomShare {
    room: Arc<WriteRoom>,
    units: usize,
}

struct RoomState {
    free: usize,
    /// The lines that wait. The line whose turn it is comes first.
    waiting: VecDeque<RoomLine>,
}

/// The writes of one handler that wait for room, the oldest first.
struct RoomLine {
    line: usize,
    writes: VecDeque<(usize, oneshot::Sender<RoomShare>)>,
}

impl WriteRooms {
    pub(super) fn new() -> WriteRooms {
        WriteRooms { large: WriteRoom::new(QUEUE / UNIT), small: WriteRoom::new(SMALL_QUEUE / UNIT) }
    }

    /// Waits for room for a write of so many bytes, in the line of its handler.
    ///
    /// # Cancel safety
    /// A write that leaves loses its place in the line, and nothing else.
    pub(super) async fn enter(&self, bytes: usize, line: usize) -> RoomShare {
        let room = if bytes > SMALL { &self.large } else { &self.small };
        room.enter(line, bytes / UNIT + 1).await
    }
}

impl WriteRoom {
    pub(super) fn new(units: usize) -> Arc<WriteRoom> {
        Arc::new(WriteRoom(Mutex::new(RoomState { free: units, waiting: VecDeque::new() })))
    }

    fn state(&self) -> MutexGuard<'_, RoomState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room. No write needs more than there is.
    ///
    /// # Cancel safety
    /// A write that leaves loses its place in the line, and nothing else.
    pub(super) async fn enter(self: &Arc<Self>, line: usize, units: usize) -> RoomShare {
        loop {
            let share = {
                let mut state = self.state();
                if state.waiting.is_empty() && units <= state.free {
                    state.free -= units;
                    return RoomShare { room: self.clone(), units };
                }
                state.wait(line, units)
            };
            // It is dropped without a share only if this had left.
            if let Ok(share) = share.await {
                return share;
            }
        }
    }

    /// Gives room to those whose turn it is, as long as there is enough for the first.
    fn hand_on(self: &Arc<Self>, mut state: MutexGuard<'_, RoomState>) {
        let next: Vec<_> = std::iter::from_fn(|| state.next()).collect();
        drop(state);
        for (units, sender) in next {
            // If the write has just left, its room comes back, and goes to another.
            drop(sender.send(RoomShare { room: self.clone(), units }));
        }
    }
}

impl RoomState {
    fn wait(&mut self, line: usize, units: usize) -> oneshot::Receiver<RoomShare> {
        let (sender, receiver) = oneshot::channel();
        match self.waiting.iter_mut().find(|waiting| waiting.line == line) {
            Some(waiting) => waiting.writes.push_back((units, sender)),
            None => self.waiting.push_back(RoomLine { line, writes: VecDeque::from([(units, sender)]) }),
        }
        receiver
    }

    /// Takes the next write if there is room for it, and gives the turn to the next line.
    fn next(&mut self) -> Option<(usize, oneshot::Sender<RoomShare>)> {
        loop {
            let first = self.waiting.front_mut()?;
            while first.writes.front().is_some_and(|(_, sender)| sender.is_closed()) {
                first.writes.pop_front();
            }
            let units = match first.writes.front() {
                Some((units, _)) => *units,
                None => {
                    self.waiting.pop_front();
                    continue;
                }
            };
            if units > self.free {
                return None;
            }
            self.free -= units;
            let mut first = self.waiting.pop_front()?;
            let next = first.writes.pop_front();
            if !first.writes.is_empty() {
                self.waiting.push_back(first);
            }
            return next;
        }
    }
}

impl RoomShare {
    pub(super) fn units(&self) -> usize {
        self.units
    }
}

impl Drop for RoomShare {
    fn drop(&mut self) {
        let mut state = self.room.state();
        state.free += self.units;
        self.room.hand_on(state);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll(share: &mut (impl Future<Output = RoomShare> + Unpin)) -> Option<RoomShare> {
        match Pin::new(share).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(share) => Some(share),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_handler_whose_writes_wait_does_not_hold_up_another() {
        let room = WriteRoom::new(10);
        let held = poll(&mut pin!(room.enter(1, 8))).unwrap();
        let (mut second, mut third, mut other) =
            (pin!(room.enter(1, 8)), pin!(room.enter(1, 8)), pin!(room.enter(2, 1)));
        assert!(poll(&mut second).is_none() && poll(&mut third).is_none());
        {
            let mut left = pin!(room.enter(3, 9));
            assert!(poll(&mut left).is_none());
        }
        assert!(poll(&mut other).is_none(), "it is the turn of a large write");

        drop(held);

        let second = poll(&mut second).unwrap();
        let other = poll(&mut other).unwrap();
        assert!(poll(&mut third).is_none());
        drop((second, other));
        assert_eq!(poll(&mut third).unwrap().units(), 8);
        assert_eq!(room.state().free, 2 + 8);
    }
}
