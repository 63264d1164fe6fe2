//! The connection limits, in all and per party. Idle connections are closed to make room.

use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::party::Party;
use crate::http::poll_on_wake::PollOnWake;
use crate::http::timeouts::{H2_MAKE_ROOM, LIMIT_WARNING, PERMIT_RETRY};
use crate::http::wire::client_memory::{ClientMemory, OpenMemoryAccount};
use crate::http::wire::progress::Progress;
use crate::job::StopReason;
use crate::net::{DrainSignal, Peer};

/// The connection limits of a server, over all its listeners.
pub struct ConnectionLimit {
    /// One permit per connection.
    room: Arc<Semaphore>,
    max: usize,
    /// How many connections one [`Party`] may have.
    per_party: usize,
    members: Mutex<OpenConnections>,
    /// The memory that the connections hold for their clients.
    memory: Arc<ClientMemory>,
    full: QuietWarning,
    party_full: QuietWarning,
    memory_full: QuietWarning,
    /// Connections that were closed at once, because their party had too many.
    refused: AtomicU64,
    /// Idle connections that were asked to leave.
    made_room: AtomicU64,
}

/// A snapshot of the connection counts.
pub(in crate::http) struct ConnectionCounts {
    /// Open connections.
    pub(in crate::http) open: u64,
    /// The limit.
    pub(in crate::http) max: u64,
    /// Connections that were closed at once, because their address had too many.
    pub(in crate::http) refused: u64,
    /// Idle connections that were asked to leave.
    pub(in crate::http) made_room: u64,
    /// The memory that the connections hold for their clients, in bytes.
    pub(in crate::http) memory: u64,
    /// The limit of it, or `None` without one.
    pub(in crate::http) memory_limit: Option<u64>,
    /// Connections that were closed because they held too much of it.
    pub(in crate::http) shed: u64,
}

#[derive(Default)]
struct OpenConnections {
    /// The next number.
    next: u64,
    parties: HashMap<Party, PartyConnections>,
}

/// The connections of one party.
#[derive(Default)]
struct PartyConnections {
    /// All connections, including those that wait for room.
    count: usize,
    connections: HashMap<u64, OpenConnection>,
}

struct OpenConnection {
    progress: Progress,
    /// Asks the connection to make room, once.
    ask: Option<oneshot::Sender<()>>,
}

/// The permit of one connection. Dropping it makes room for another.
pub(in crate::http) struct ConnectionPermit {
    /// The state of the connection.
    pub(in crate::http) progress: Progress,
    asked: oneshot::Receiver<()>,
    number: u64,
    memory: OpenMemoryAccount,
    permit: PartyPermit,
    /// `None` for a connection accepted just before the server left, which is served beyond the limit.
    _room: Option<OwnedSemaphorePermit>,
}

/// One connection in the count of its party.
struct PartyPermit {
    limit: Arc<ConnectionLimit>,
    party: Party,
}

/// A log line that is written at most once in a while, however often there is a reason for it.
#[derive(Default)]
struct QuietWarning(Mutex<WarningState>);

#[derive(Default)]
struct WarningState {
    last: Option<Instant>,
    /// Reasons since the last line.
    since: u64,
}

/// Each search asks one of this many idle connections to make room, but at least one. Finding the idlest
/// means looking at all of them, and a flood of connections must not cause that for each one.
const BATCH: usize = 64;

impl ConnectionLimit {
    /// Makes a limit of `max` connections, and of `per_party` for each party, such as an address. Together they may hold
    /// `memory` bytes for their clients.
    pub fn new(max: usize, per_party: usize, memory: usize) -> Arc<ConnectionLimit> {
        let room = Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        let [full, party_full, memory_full] = std::array::from_fn(|_| QuietWarning::default());
        let (refused, made_room) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(ConnectionLimit {
            room,
            max,
            per_party,
            members: Mutex::default(),
            memory: ClientMemory::new(memory),
            full,
            party_full,
            memory_full,
            refused,
            made_room,
        })
    }

    /// Returns the limit.
    pub fn max_connections(&self) -> usize {
        self.max
    }

    /// Takes a snapshot of the counts.
    pub(in crate::http) fn counts(&self) -> ConnectionCounts {
        let parties = &self.members().parties;
        ConnectionCounts {
            open: parties.values().map(|party| party.connections.len() as u64).sum(),
            max: self.max as u64,
            refused: self.refused.load(Ordering::Relaxed),
            made_room: self.made_room.load(Ordering::Relaxed),
            memory: self.memory.held() as u64,
            memory_limit: self.memory.limit().map(|bytes| bytes as u64),
            shed: self.memory.shed(),
        }
    }

    /// Waits for room and returns a permit for a connection that counts for `party`. Returns `None` if the party has as many
    /// connections as it may, all of them busy. Idle ones make room.
    ///
    /// The connection is already accepted, so it is served even if the listener leaves before there is
    /// room.
    pub(in crate::http) async fn acquire(
        self: &Arc<ConnectionLimit>,
        peer: &Peer,
        party: Party,
        leaving: &DrainSignal,
    ) -> Option<ConnectionPermit> {
        let permit = self.party_permit(peer, party)?;
        let room = tokio::select! {
            biased;
            room = self.room() => Some(room),
            () = leaving.closed() => None,
        };
        let memory = self.memory.open(party.address());
        let progress = Progress::new(memory.account());
        let (ask, asked) = oneshot::channel();
        let mut members = self.members();
        let number = members.next;
        members.next += 1;
        let member = OpenConnection { progress: progress.clone(), ask: Some(ask) };
        members.parties.entry(party).or_default().connections.insert(number, member);
        drop(members);
        Some(ConnectionPermit { progress, asked, number, memory, permit, _room: room })
    }

    fn party_permit(self: &Arc<ConnectionLimit>, peer: &Peer, party: Party) -> Option<PartyPermit> {
        let mut members = self.members();
        let ours = members.parties.entry(party).or_default();
        // A connection that is asked to leave still counts until it closes; one more is let in for it. It may stay, with
        // a request that came meanwhile, so there is an end to that.
        let has_room = party == Party::Nobody
            || ours.count < self.per_party
            || (self.counted(make_room(ours.connections.values_mut())) > 0
                && ours.count < self.per_party + party.ahead(self.per_party));
        if has_room {
            ours.count += 1;
            return Some(PartyPermit { limit: self.clone(), party });
        }
        drop(members);
        let (remote, max) = (peer.remote(), self.per_party);
        debug!("connection from {remote}: closed, {party} has too many");
        self.refused.fetch_add(1, Ordering::Relaxed);
        if let Some(more) = self.party_full.due() {
            warn!(
                "{remote} is one beyond {max} busy connections, the maximum of {party}: closed{}",
                others(more)
            );
        }
        None
    }

    /// Waits until there is room for one more connection. If there is none, asks those that have been
    /// idle longest to leave. Connections with a request in progress are not asked.
    async fn room(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = self.room.clone().try_acquire_owned() {
                return permit;
            }
            if self.full.due().is_some() {
                warn!("there are {} connections, the maximum: idle ones are closed", self.max);
            }
            let asked = make_room(
                self.members().parties.values_mut().flat_map(|party| party.connections.values_mut()),
            );
            // Connections that were asked get time to leave before others are asked.
            let patience = if self.counted(asked) > 0 { H2_MAKE_ROOM } else { PERMIT_RETRY };
            if let Ok(Ok(permit)) = timeout(patience, self.room.clone().acquire_owned()).await {
                return permit;
            }
        }
    }

    fn counted(&self, asked: usize) -> usize {
        self.made_room.fetch_add(asked as u64, Ordering::Relaxed);
        asked
    }

    fn members(&self) -> MutexGuard<'_, OpenConnections> {
        // A poisoned lock is harmless: the value is consistent after every statement.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionPermit {
    /// Counts the connection for another party from now on: that of the client that a proxy has named. Returns `false` if
    /// that party has as many connections as it may, all of them busy.
    pub(in crate::http) fn move_to(&mut self, peer: &Peer, party: Party) -> bool {
        let PartyPermit { limit, party: before } = &self.permit;
        if party == *before {
            return true;
        }
        let Some(permit) = limit.party_permit(peer, party) else { return false };
        let mut members = limit.members();
        let ours = members.parties.get_mut(before).and_then(|ours| ours.connections.remove(&self.number));
        if let Some(ours) = ours {
            members.parties.entry(party).or_default().connections.insert(self.number, ours);
        }
        drop(members);
        self.memory.move_to(party.address());
        self.permit = permit;
        true
    }

    /// Serves a connection to its end, until it has to make room while idle, or until it holds too much memory.
    pub(in crate::http) async fn serve(&mut self, connection: Pin<&mut impl Future<Output = ()>>) {
        let account = self.memory.account();
        let shed = pin!(account.shed());
        let shed = PollOnWake::new(shed);
        tokio::select! {
            biased;
            () = self.serve_or_leave(connection) => return,
            () = shed => {}
        }
        // The jobs of its requests end when the connection is dropped. They are told why.
        self.progress.gives_up(StopReason::Memory);
        let PartyPermit { limit, party } = &self.permit;
        let client = party.address().map_or_else(|| party.to_string(), |address| address.to_string());
        debug!("connection from {client}: closed, it holds too much memory");
        if let Some(more) = limit.memory_full.due() {
            warn!(
                "the connections hold more memory for their clients than http.client_memory allows: one of {client} \
                 that held most is closed{}",
                others(more)
            );
        }
    }

    /// Serves a connection to its end, or until it has to make room while idle.
    async fn serve_or_leave(&mut self, mut connection: Pin<&mut impl Future<Output = ()>>) {
        // `serve` may be called again after the connection was asked, and never asks twice.
        let is_asked = self.asked.is_terminated();
        let asked = PollOnWake::new(&mut self.asked);
        tokio::select! {
            // Polled first, so that received bytes are seen before the connection counts as idle.
            biased;
            () = connection.as_mut() => return,
            _ = asked, if !is_asked => {}
        }
        // An HTTP/2 client is told with a GOAWAY. It may have sent a request before that arrives.
        while self.progress.idle_since().is_some() {
            if !self.progress.is_multiplexed() {
                return;
            }
            self.progress.departure.writer().make_room();
            if timeout(H2_MAKE_ROOM, connection.as_mut()).await.is_ok() {
                return;
            }
            if self.progress.idle_since().is_some() {
                return;
            }
        }
        // A request came meanwhile. It is answered, as the last one.
        self.progress.departure.writer().leave();
        connection.await;
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let PartyPermit { limit, party } = &self.permit;
        if let Some(ours) = limit.members().parties.get_mut(party) {
            ours.connections.remove(&self.number);
        }
    }
}

impl Drop for PartyPermit {
    fn drop(&mut self) {
        let mut members = self.limit.members();
        if let Some(ours) = members.parties.get_mut(&self.party) {
            ours.count -= 1;
            if ours.count == 0 {
                members.parties.remove(&self.party);
            }
        }
    }
}

impl QuietWarning {
    /// Counts a reason. If a line is due, returns how many reasons came since the last one.
    fn due(&self) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.last.is_some_and(|last| last.elapsed() < LIMIT_WARNING) {
            told.since += 1;
            return None;
        }
        told.last = Some(Instant::now());
        Some(std::mem::take(&mut told.since))
    }
}

/// Words the count of reasons that were not logged.
fn others(count: u64) -> String {
    match count {
        0 => String::new(),
        count => format!(", and {count} more since the last such line"),
    }
}

/// Asks the longest idle connections to make room. Returns how many were asked.
fn make_room<'m>(members: impl Iterator<Item = &'m mut OpenConnection>) -> usize {
    let askable = members.filter(|member| member.ask.is_some());
    let mut idle: Vec<_> =
        askable.filter_map(|member| Some((member.progress.idle_since()?, member))).collect();
    let count = 1 + idle.len() / BATCH;
    if idle.len() > count {
        idle.select_nth_unstable_by_key(count, |(since, _)| *since);
        idle.truncate(count);
    }
    for (_, member) in &mut idle {
        // Send fails if the connection is already closing; nothing to do then.
        let _asked = member.ask.take().map(|ask| ask.send(()));
    }
    idle.len()
}

#[cfg(test)]
mod tests;
