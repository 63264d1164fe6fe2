//! The pool of idle connections of one handler version, for its next call to the same server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::FutureExt as _;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::cpu_charge::{ChargedCall, Payer};
use super::strict_head::{HeadDue, StrictHeadIo};
use crate::budget::Portion;
use crate::http::timeouts::{POOL_IDLE, POOL_MAX_AGE, POOL_READY};
use crate::job::Usage;
use crate::job::outbound::CallBody;
use crate::net::outbound::{Channel, Origin};

/// The largest head of a response that is accepted, in bytes.
pub(super) const HEAD: usize = 64 << 10;

/// Idle connections per handler version. One more replaces the connection that has been idle longest.
const MOST: usize = 16;

/// An open HTTP connection.
pub(super) struct PooledConnection {
    pub(super) sender: SendRequest<CallBody>,
    due: HeadDue,
    /// Whether every response so far had an unambiguous end, so that the connection may be reused.
    sound: bool,
    opened: Instant,
    payer: Payer,
    /// The share of the socket in the file descriptors that all jobs have in common.
    _descriptor: Portion,
    _driver: Driver,
}

/// The task that drives a connection. Dropping this aborts it.
struct Driver(JoinHandle<()>);

/// The idle connections of one handler version.
#[derive(Clone)]
pub(super) struct ConnectionPool {
    lot: Arc<Mutex<IdleConnections>>,
    /// The runtime that drives them, or `None` for the runtime of the job.
    home: Option<Handle>,
}

#[derive(Default)]
struct IdleConnections {
    /// The connection that has been idle longest comes first.
    waiting: Vec<IdleConnection>,
    /// Whether a task runs that closes connections idle for too long.
    swept: bool,
}

struct IdleConnection {
    origin: Origin,
    link: PooledConnection,
    since: Instant,
}

impl PooledConnection {
    /// Starts HTTP on a connection.
    ///
    /// # Errors
    /// The connection is closed already.
    pub(super) async fn open(
        (channel, descriptor): (Channel, Portion),
        usage: &Arc<Usage>,
    ) -> hyper::Result<PooledConnection> {
        let (heads, due) = StrictHeadIo::of(channel);
        let mut builder = http1::Builder::new();
        builder.max_header_size(HEAD).max_buf_size(HEAD);
        let (sender, connection) = builder.handshake(TokioIo::new(heads)).await?;
        let payer = Payer::default();
        payer.becomes(Some(usage.clone()));
        // A connection error is reported by the request or the body that fails with it.
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

    /// Notes that the head of a response comes next.
    pub(super) fn expect_head(&self) {
        self.due.now();
    }

    /// Closes the connection when its exchange ends, instead of returning it to the pool.
    pub(super) fn distrust(&mut self) {
        self.sound = false;
    }
}

impl ConnectionPool {
    pub(super) fn new(home: Option<Handle>) -> ConnectionPool {
        ConnectionPool { lot: Arc::default(), home }
    }

    /// Takes the connection to a server that was used most recently, if one is idle and still open. This job
    /// pays for it.
    pub(super) async fn take(&self, origin: &Origin, usage: &Arc<Usage>) -> Option<PooledConnection> {
        loop {
            let mut link = self.pop(origin)?;
            link.payer.becomes(Some(usage.clone()));
            // Its last call may have just ended, or the server may have closed it.
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

    /// Closes the connection that has been idle longest. Returns `false` if none is idle.
    pub(super) fn close_oldest(&self) -> bool {
        let mut lot = lock(&self.lot);
        let oldest = (!lot.waiting.is_empty()).then(|| lot.waiting.remove(0));
        // Unlocked first, because closing takes a while.
        drop(lot);
        oldest.is_some()
    }

    /// Adds a connection whose call has ended to the pool.
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
            // The task ends when no connection is idle, or when the handler version is dropped.
            drop(home.spawn(sweep(Arc::downgrade(&self.lot), since + POOL_IDLE)));
        }
        // Unlocked first, because closing takes a while.
        drop(lot);
        drop(surplus);
    }
}

/// Closes connections that have been idle for too long, until none is left.
async fn sweep(lot: Weak<Mutex<IdleConnections>>, first: Instant) {
    let mut next = Some(first);
    while let Some(time) = next {
        sleep_until(time).await;
        let Some(lot) = lot.upgrade() else { return };
        let (stale, oldest) = stale(&lot);
        drop(stale);
        next = oldest.map(|oldest| oldest + POOL_IDLE);
    }
}

/// Removes the connections that have been idle for too long. Also returns when the oldest of the rest became
/// idle, or `None` if none is left; the sweep then ends.
fn stale(lot: &Mutex<IdleConnections>) -> (Vec<IdleConnection>, Option<Instant>) {
    let mut lot = lock(lot);
    let fresh = lot.waiting.iter().position(|waiting| waiting.since.elapsed() < POOL_IDLE);
    let stale = fresh.unwrap_or(lot.waiting.len());
    let stale = lot.waiting.drain(..stale).collect();
    let oldest = lot.waiting.first().map(|oldest| oldest.since);
    lot.swept = oldest.is_some();
    (stale, oldest)
}

fn lock(lot: &Mutex<IdleConnections>) -> MutexGuard<'_, IdleConnections> {
    lot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
