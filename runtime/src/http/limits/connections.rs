//! The connection limit, in all and for one address, and the idle connections that make room.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use crate::http::timeouts::{H2_MAKE_ROOM, LIMIT_WARNING, PERMIT_RETRY};
use crate::http::wire::progress::Progress;
use crate::net::{Leaving, Peer};

/// The connections of a server, over all its listeners.
pub struct ConnectionLimit {
    /// A permit each.
    room: Arc<Semaphore>,
    most: usize,
    /// How many may be of one address.
    of_one: usize,
    members: Mutex<OpenConnections>,
    full: QuietWarning,
    crowded: QuietWarning,
    /// Closed at once, for their address had too many.
    refused: AtomicU64,
    /// Idle, and asked to leave.
    made_room: AtomicU64,
}

/// How many connections there are, and what has become of others.
pub(in crate::http) struct ConnectionCounts {
    /// Those that are open.
    pub(in crate::http) open: u64,
    /// How many may be.
    pub(in crate::http) most: u64,
    /// Those that were closed at once, for their address had too many.
    pub(in crate::http) refused: u64,
    /// Those that were idle and asked to leave.
    pub(in crate::http) made_room: u64,
}

#[derive(Default)]
struct OpenConnections {
    /// The next number.
    next: u64,
    /// By address; none: Unix clients.
    origins: HashMap<Option<IpAddr>, PerAddress>,
}

/// The connections of one address.
#[derive(Default)]
struct PerAddress {
    /// Those that wait for room as well.
    count: usize,
    seated: HashMap<u64, OpenConnection>,
}

struct OpenConnection {
    progress: Progress,
    /// Asks it to make room, once.
    ask: Option<oneshot::Sender<()>>,
}

/// What a connection holds as long as it lasts.
pub(in crate::http) struct ConnectionPermit {
    /// Where the connection stands.
    pub(in crate::http) progress: Progress,
    asked: oneshot::Receiver<()>,
    number: u64,
    share: AddressPermit,
    /// None: it came while the server was about to leave, and is served beyond the limit.
    _room: Option<OwnedSemaphorePermit>,
}

/// One of the connections that an address may have.
struct AddressPermit {
    crowd: Arc<ConnectionLimit>,
    origin: Option<IpAddr>,
}

/// A line of the log that is written now and then, however often there is a reason for it.
#[derive(Default)]
struct QuietWarning(Mutex<WarningState>);

#[derive(Default)]
struct WarningState {
    last: Option<Instant>,
    /// Reasons since then.
    since: u64,
}

/// One in this many is asked to make room at once: to find the idlest is to look at all of them, which
/// a flood of connections must not make us do for each one.
const BATCH: usize = 64;

impl ConnectionLimit {
    /// Makes room for this many connections, of which one address may have `of_one`.
    pub fn new(most: usize, of_one: usize) -> Arc<ConnectionLimit> {
        let room = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        let (full, crowded) = (QuietWarning::default(), QuietWarning::default());
        let (refused, made_room) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(ConnectionLimit {
            room,
            most,
            of_one,
            members: Mutex::default(),
            full,
            crowded,
            refused,
            made_room,
        })
    }

    /// Says how many connections there may be.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Counts the connections.
    pub(in crate::http) fn census(&self) -> ConnectionCounts {
        let origins = &self.members().origins;
        ConnectionCounts {
            open: origins.values().map(|origin| origin.seated.len() as u64).sum(),
            most: self.most as u64,
            refused: self.refused.load(Ordering::Relaxed),
            made_room: self.made_room.load(Ordering::Relaxed),
        }
    }

    /// Takes a connection in, once there is room; none: its address has as many as it may, and all of
    /// them are busy. Idle ones make room.
    ///
    /// It was accepted, so it is served even if the listener is to leave before there is room.
    pub(in crate::http) async fn seat(
        self: &Arc<ConnectionLimit>,
        peer: &Peer,
        leaving: &Leaving,
    ) -> Option<ConnectionPermit> {
        let share = self.share(peer)?;
        let room = tokio::select! {
            biased;
            room = self.room() => Some(room),
            () = leaving.closed() => None,
        };
        let progress = Progress::new();
        let (ask, asked) = oneshot::channel();
        let mut members = self.members();
        let number = members.next;
        members.next += 1;
        let member = OpenConnection { progress: progress.clone(), ask: Some(ask) };
        members.origins.entry(share.origin).or_default().seated.insert(number, member);
        drop(members);
        Some(ConnectionPermit { progress, asked, number, share, _room: room })
    }

    fn share(self: &Arc<ConnectionLimit>, peer: &Peer) -> Option<AddressPermit> {
        let origin = peer.origin();
        let mut members = self.members();
        let ours = members.origins.entry(origin).or_default();
        // The one that is asked to leave is not counted any longer.
        let has_room = ours.count < self.of_one
            || origin.is_none()
            || self.counted(make_room(ours.seated.values_mut())) > 0;
        if has_room {
            ours.count += 1;
            return Some(AddressPermit { crowd: self.clone(), origin });
        }
        drop(members);
        let (remote, most) = (peer.remote(), self.of_one);
        debug!("connection from {remote}: closed, its address has too many");
        self.refused.fetch_add(1, Ordering::Relaxed);
        if let Some(more) = self.crowded.due() {
            warn!(
                "{remote} is one beyond {most} busy connections, all that one address may have: closed{}",
                others(more)
            );
        }
        None
    }

    /// Waits until there is room for one more. Where there is none, those make it that have waited for a
    /// request the longest; one that is answered goes on.
    async fn room(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = self.room.clone().try_acquire_owned() {
                return permit;
            }
            if self.full.due().is_some() {
                warn!("there are {} connections, all that there may be: idle ones are closed", self.most);
            }
            let asked =
                make_room(self.members().origins.values_mut().flat_map(|origin| origin.seated.values_mut()));
            // Whoever was asked has its time to go before others are asked.
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
        // Whole after every statement.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionPermit {
    /// Serves a connection to its end, or until it is to make room while it is idle.
    pub(in crate::http) async fn serve(&mut self, mut connection: Pin<&mut impl Future<Output = ()>>) {
        tokio::select! {
            // First: what has arrived is seen before the connection is called idle.
            biased;
            () = connection.as_mut() => return,
            _ = &mut self.asked => {}
        }
        // One of HTTP/2 is told, and may have sent a request before it knows.
        while self.progress.idle_since().is_some() {
            if !self.progress.is_multiplexed() {
                return;
            }
            self.progress.make_room();
            if timeout(H2_MAKE_ROOM, connection.as_mut()).await.is_ok() {
                return;
            }
            if self.progress.idle_since().is_some() {
                return;
            }
        }
        // A request came meanwhile: it is answered, and the last.
        self.progress.leave();
        connection.await;
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let AddressPermit { crowd, origin } = &self.share;
        if let Some(ours) = crowd.members().origins.get_mut(origin) {
            ours.seated.remove(&self.number);
        }
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut members = self.crowd.members();
        if let Some(ours) = members.origins.get_mut(&self.origin) {
            ours.count -= 1;
            if ours.count == 0 {
                members.origins.remove(&self.origin);
            }
        }
    }
}

impl QuietWarning {
    /// Counts a reason; returns how many there were that nothing was written of, if now is the time to
    /// write.
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

/// Tells of what was not told before.
fn others(count: u64) -> String {
    match count {
        0 => String::new(),
        count => format!(", and {count} before it since this was last told"),
    }
}

/// Asks those that have waited for a request the longest to make room; says how many there were.
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
