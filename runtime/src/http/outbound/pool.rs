//! Connections that wait for the next call of the same handler to the same server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::FutureExt as _;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::charge::{ChargedCall, Payer};
use super::strict::{HeadDue, Heads};
use crate::budget::Portion;
use crate::http::timeouts::{POOL_IDLE, POOL_MAX_AGE, POOL_READY};
use crate::job::Usage;
use crate::job::outbound::CallBody;
use crate::net::outbound::{Channel, Origin};

/// The largest head of a response, in bytes.
const HEAD: usize = 64 << 10;

/// Connections of one handler that wait; one more takes the place of the one that has waited longest.
const MOST: usize = 16;

/// A connection that speaks HTTP.
pub(super) struct PooledConnection {
    pub(super) sender: SendRequest<CallBody>,
    due: HeadDue,
    /// Whether nothing that came over it leaves open what comes next.
    sound: bool,
    opened: Instant,
    payer: Payer,
    /// The socket's part of the file descriptors that all jobs share.
    _descriptor: Portion,
    _driver: Driver,
}

/// Drives a connection until it is dropped.
struct Driver(JoinHandle<()>);

/// The connections of one version of a handler that wait.
#[derive(Clone)]
pub(super) struct ConnectionPool {
    lot: Arc<Mutex<Lot>>,
    /// Where they are driven; none: where the job is.
    home: Option<Handle>,
}

#[derive(Default)]
struct Lot {
    /// The one that has waited longest first.
    waiting: Vec<IdleConnection>,
    /// Whether somebody closes what waits too long.
    swept: bool,
}

struct IdleConnection {
    origin: Origin,
    link: PooledConnection,
    since: Instant,
}

impl PooledConnection {
    /// Begins to speak HTTP over a connection.
    ///
    /// # Errors
    /// It is closed already.
    pub(super) async fn open(
        (channel, descriptor): (Channel, Portion),
        usage: &Arc<Usage>,
    ) -> hyper::Result<PooledConnection> {
        let (heads, due) = Heads::of(channel);
        let mut builder = http1::Builder::new();
        builder.max_header_size(HEAD).max_buf_size(HEAD);
        let (sender, connection) = builder.handshake(TokioIo::new(heads)).await?;
        let payer = Payer::default();
        payer.becomes(Some(usage.clone()));
        // What breaks is told by the request or the body that breaks with it.
        let driving = ChargedCall::new(payer.clone(), connection.map(drop));
        let driver = Driver(tokio::spawn(driving));
        Ok(PooledConnection {
            sender,
            due,
            sound: true,
            opened: Instant::now(),
            payer,
            _descriptor: descriptor,
            _driver: driver,
        })
    }

    /// Says that the head of an answer is the next to come.
    pub(super) fn expect_head(&self) {
        self.due.now();
    }

    /// Has it closed when its exchange has ended.
    pub(super) fn distrust(&mut self) {
        self.sound = false;
    }
}

impl ConnectionPool {
    pub(super) fn new(home: Option<Handle>) -> ConnectionPool {
        ConnectionPool { lot: Arc::default(), home }
    }

    /// Takes the connection to a server that has waited least, if one is there and still open. This job pays for it.
    pub(super) async fn take(&self, origin: &Origin, usage: &Arc<Usage>) -> Option<PooledConnection> {
        loop {
            let mut link = self.pop(origin)?;
            link.payer.becomes(Some(usage.clone()));
            // It may have ended its last call this moment, or have been closed by the server.
            if let Ok(Ok(())) = timeout(POOL_READY, link.sender.ready()).await {
                return Some(link);
            }
        }
    }

    fn pop(&self, origin: &Origin) -> Option<PooledConnection> {
        let waiting = &mut lock(&self.lot).waiting;
        let at = waiting.iter().rposition(|waiting| waiting.origin == *origin)?;
        Some(waiting.remove(at).link)
    }

    /// Closes the connection that has waited longest; returns false if none waits.
    pub(super) fn close_oldest(&self) -> bool {
        let mut lot = lock(&self.lot);
        let oldest = (!lot.waiting.is_empty()).then(|| lot.waiting.remove(0));
        // Unlocked first: to close takes a while.
        drop(lot);
        oldest.is_some()
    }

    /// Keeps a connection whose call has ended.
    pub(super) fn keep(&self, origin: Origin, link: PooledConnection) {
        if !link.sound || link.opened.elapsed() > POOL_MAX_AGE || link.sender.is_closed() {
            return;
        }
        link.payer.becomes(None);
        let since = Instant::now();
        let mut lot = lock(&self.lot);
        let surplus = (lot.waiting.len() >= MOST).then(|| lot.waiting.remove(0));
        lot.waiting.push(IdleConnection { origin, link, since });
        if !std::mem::replace(&mut lot.swept, true) {
            let home = self.home.clone().unwrap_or_else(Handle::current);
            // Ends when nothing waits, or the handler is gone.
            drop(home.spawn(sweep(Arc::downgrade(&self.lot), since + POOL_IDLE)));
        }
        // Unlocked first: to close takes a while.
        drop(lot);
        drop(surplus);
    }
}

/// Closes what waits too long, until nothing waits.
async fn sweep(lot: Weak<Mutex<Lot>>, first: Instant) {
    let mut next = Some(first);
    while let Some(time) = next {
        sleep_until(time).await;
        let Some(lot) = lot.upgrade() else { return };
        let (stale, oldest) = stale(&lot);
        drop(stale);
        next = oldest.map(|oldest| oldest + POOL_IDLE);
    }
}

/// Takes out what has waited too long, and says since when the oldest of the rest waits; none: nothing
/// does, and nobody sweeps from now on.
fn stale(lot: &Mutex<Lot>) -> (Vec<IdleConnection>, Option<Instant>) {
    let mut lot = lock(lot);
    let fresh = lot.waiting.iter().position(|waiting| waiting.since.elapsed() < POOL_IDLE);
    let stale = fresh.unwrap_or(lot.waiting.len());
    let stale = lot.waiting.drain(..stale).collect();
    let oldest = lot.waiting.first().map(|oldest| oldest.since);
    lot.swept = oldest.is_some();
    (stale, oldest)
}

fn lock(lot: &Mutex<Lot>) -> MutexGuard<'_, Lot> {
    lot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
