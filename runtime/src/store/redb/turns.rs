//! The writes that wait for a commit. Handlers take turns: one with many writes does not hold up another with few.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::store::error::StoreError;
use crate::store::room::RoomShare;
use crate::store::value::{Outcome, Write};
use crate::store::work::StoreWork;

/// A write that waits for its commit.
pub(super) struct Pending {
    pub(super) write: Write,
    pub(super) reply: oneshot::Sender<Result<Outcome, StoreError>>,
    /// Its share of the queue, given back when it is done.
    pub(super) share: RoomShare,
    /// Who pays for its share of the commit.
    pub(super) payer: Option<Arc<StoreWork>>,
    /// When it was asked for.
    pub(super) asked: Instant,
}

/// Writes by their line. The line whose turn it is comes first.
#[derive(Default)]
pub(super) struct WriteTurns(VecDeque<WriteLine>);

/// The writes of one handler, the oldest first. There is one at least.
struct WriteLine {
    line: usize,
    writes: VecDeque<Pending>,
}

impl WriteTurns {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, pending: Pending) {
        let line = pending.payer.as_ref().map_or(0, |payer| payer.line());
        match self.0.iter_mut().find(|waiting| waiting.line == line) {
            Some(waiting) => waiting.writes.push_back(pending),
            None => self.0.push_back(WriteLine { line, writes: VecDeque::from([pending]) }),
        }
    }

    /// Takes the next write, and gives the turn to the next line.
    pub(super) fn pop(&mut self) -> Option<Pending> {
        let mut waiting = self.0.pop_front()?;
        let next = waiting.writes.pop_front();
        if !waiting.writes.is_empty() {
            self.0.push_back(waiting);
        }
        next
    }
}

impl Pending {
    /// Replies to the caller.
    pub(super) fn settle(self, outcome: Result<Outcome, StoreError>) {
        // Room in the queue first: a caller may write again as soon as it has its outcome.
        drop(self.share);
        // It may have left.
        let _gone = self.reply.send(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::room::WriteRoom;

    async fn delete(key: &str, line: usize) -> Pending {
        let share = WriteRoom::new(1).enter(line, 1).await;
        let payer = Some(Arc::new(StoreWork::of(line)));
        let (write, reply) = (Write::Delete { key: key.to_owned() }, oneshot::channel().0);
        Pending { write, reply, share, payer, asked: Instant::now() }
    }

    #[tokio::test]
    async fn a_handler_with_many_writes_does_not_hold_up_another() {
        let mut turns = WriteTurns::default();
        for key in ["a1", "a2", "a3"] {
            turns.push(delete(key, 1).await);
        }
        turns.push(delete("b1", 2).await);
        let mut order = Vec::new();
        while let Some(Pending { write: Write::Delete { key }, .. }) = turns.pop() {
            if key == "a2" {
                turns.push(delete("b2", 2).await);
            }
            order.push(key);
        }

        assert_eq!(order, ["a1", "b1", "a2", "a3", "b2"]);
        assert!(turns.is_empty());
    }
}
