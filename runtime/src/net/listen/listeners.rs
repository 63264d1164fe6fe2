//! The sockets the daemon listens on, and how they change while it serves.

use super::bind::bind;
use super::listener::{Listener, is_exposed};
use super::options::BindOptions;
use super::socket_file::SocketFile;
use crate::net::activation::fd_name;
use crate::net::activation::handover::{self, Predecessor, Successor};
use crate::net::activation::systemd::Activation;
use crate::net::endpoint::Endpoint;
use crate::net::tls::Tls;
use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// All listeners of the daemon. Each is handed out once, to the caller that accepts from it.
#[derive(Debug)]
pub struct Sockets {
    options: BindOptions,
    activation: Mutex<Activation>,
    registry: Mutex<ListenerRegistry>,
    posted: Notify,
    predecessor: Mutex<Option<Predecessor>>,
    /// The names of passed sockets that no endpoint wants any more.
    left: Mutex<Vec<String>>,
}

/// A listener to accept from, until its drain signal.
#[derive(Debug)]
pub struct Handout {
    /// Dropping it closes the socket, once [`Sockets`] has let go of it as well.
    pub listener: Arc<Listener>,
    /// The drain signal of the listener.
    pub leaving: DrainSignal,
}

/// Signals how far a listener has shut down. Clones share one signal.
#[derive(Debug, Clone)]
pub struct DrainSignal(watch::Receiver<Phase>);

/// How far a listener has shut down. Phases only advance, and may be skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Phase {
    /// Connections are accepted and stay.
    #[default]
    Serving,
    /// Connections are accepted, and each response is the last of its connection.
    Draining,
    /// No connections are accepted. Upgraded connections continue.
    Closed,
    /// Upgraded connections end as well.
    Over,
}

/// The listeners of a new configuration, bound and not yet served. Dropping it closes the new ones.
#[derive(Debug)]
pub struct ListenerChange {
    wanted: Vec<Endpoint>,
    added: Vec<Listener>,
}

#[derive(Debug, Default)]
struct ListenerRegistry {
    bound: Vec<BoundListener>,
    /// At most one entry per bound listener.
    waiting: VecDeque<Handout>,
    closed: bool,
    /// The signals for connections of listeners that are closed but not over.
    left: Vec<watch::Sender<Phase>>,
}

#[derive(Debug)]
struct BoundListener {
    listener: Arc<Listener>,
    phase: watch::Sender<Phase>,
    /// Whether the log has warned that this listener is reachable in clear.
    told: bool,
}

impl Sockets {
    /// Binds the first endpoints; see [`bind`].
    ///
    /// # Errors
    /// The first endpoint that cannot be bound.
    pub fn bind(
        endpoints: &[Endpoint],
        options: BindOptions,
        mut activation: Activation,
    ) -> anyhow::Result<Sockets> {
        let predecessor = Predecessor::find(&mut activation)?;
        let sockets = Sockets {
            options,
            activation: Mutex::new(activation),
            registry: Mutex::default(),
            posted: Notify::new(),
            predecessor: Mutex::new(predecessor),
            left: Mutex::default(),
        };
        let change = sockets.prepare(endpoints)?;
        sockets.apply(change);
        sockets.activation().untaken().iter().for_each(|idle| tracing::warn!("{idle}"));
        *sockets.left.lock().unwrap_or_else(PoisonError::into_inner) = sockets.activation().left();
        Ok(sockets)
    }

    /// Reports whether another process serves until this one is ready.
    pub fn has_predecessor(&self) -> bool {
        self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Binds the endpoints of `wanted` that are not bound. Blocks on name lookups. Prepare one change at a time.
    ///
    /// # Errors
    /// The first endpoint that cannot be bound. Nothing has changed then.
    pub fn prepare(&self, wanted: &[Endpoint]) -> anyhow::Result<ListenerChange> {
        let known: Vec<Endpoint> =
            self.registry().bound.iter().map(|entry| entry.listener.endpoint().clone()).collect();
        let new: Vec<Endpoint> =
            wanted.iter().filter(|endpoint| !known.contains(endpoint)).cloned().collect();
        let added = bind(&new, &self.options, &mut self.activation())?;
        Ok(ListenerChange { wanted: wanted.to_vec(), added })
    }

    /// Hands the new listeners to [`Sockets::next`] and ends those no longer wanted. Never blocks.
    pub fn apply(&self, change: ListenerChange) {
        let mut registry = self.registry();
        if registry.closed {
            return;
        }
        let ListenerChange { wanted, added } = change;
        let (stay, go) = std::mem::take(&mut registry.bound)
            .into_iter()
            .partition(|entry| wanted.contains(entry.listener.endpoint()));
        registry.bound = stay;
        for listener in added.into_iter().map(Arc::new) {
            let (phase, leaving) = watch::channel(Phase::Serving);
            registry.waiting.push_back(Handout { listener: listener.clone(), leaving: DrainSignal(leaving) });
            registry.bound.push(BoundListener { listener, phase, told: false });
        }
        for signal in registry.let_go(go) {
            advance(&signal, Phase::Over);
        }
        drop(registry);
        self.posted.notify_waiters();
    }

    /// Moves every listener on to a phase, for good. From [`Phase::Closed`] on, `Sockets` drops its listeners; those
    /// that no task accepts from are closed at once.
    pub fn end(&self, phase: Phase) {
        let mut registry = self.registry();
        if phase >= Phase::Closed {
            registry.closed = true;
            let all = std::mem::take(&mut registry.bound);
            let left = registry.let_go(all);
            registry.left.extend(left);
        }
        let signals = registry.bound.iter().map(|entry| &entry.phase).chain(&registry.left);
        signals.for_each(|signal| advance(signal, phase));
        drop(registry);
        self.posted.notify_waiters();
    }

    /// Returns the next listener that no task accepts from yet, or `None` once the sockets are closed.
    ///
    /// # Cancel safety
    /// No listener is lost.
    pub async fn next(&self) -> Option<Handout> {
        loop {
            // Registered before the check, so a listener posted in between is not missed.
            let posted = self.posted.notified();
            {
                let mut registry = self.registry();
                match registry.waiting.pop_front() {
                    Some(handout) => return Some(handout),
                    None if registry.closed => return None,
                    None => {}
                }
            }
            posted.await;
        }
    }

    /// Warns about each listener that other machines can reach in clear, once for as long as it stays so.
    pub fn warn_of_clear(&self, tls: Option<&Tls>) {
        for entry in &mut self.registry().bound {
            let listener = &entry.listener;
            let clear = is_exposed(listener) && !tls.is_some_and(|tls| tls.covers(listener));
            if clear && !entry.told {
                tracing::warn!(
                    listener = listener.local(),
                    "other machines reach this listener without TLS: anyone on the path can read and change \
                     the traffic, and call every handler: set [tls], or bind 127.0.0.1 or a unix socket"
                );
            }
            entry.told = clear;
        }
    }

    /// Returns all current listeners.
    pub fn listeners(&self) -> Vec<Arc<Listener>> {
        self.registry().bound.iter().map(|entry| entry.listener.clone()).collect()
    }

    /// Returns the previous process on the first call. `None` later, or if no process passed anything.
    pub fn predecessor(&self) -> Option<Predecessor> {
        self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes responsibility for everything taken over, and removes the files of Unix sockets that are no longer
    /// wanted. Returns the names under which systemd may still store those sockets.
    pub fn own(&self) -> Vec<String> {
        self.listeners().iter().for_each(|listener| listener.own_file());
        let left = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        for path in left.iter().filter_map(|name| fd_name::path(name)) {
            if let Ok(file) = SocketFile::adopt(&path) {
                file.own();
            }
        }
        left
    }

    /// Leaves the files of Unix sockets in place, for the next process.
    pub fn leave_files(&self) {
        self.listeners().iter().for_each(|listener| listener.leave_file());
    }

    /// Copies every socket for the next process with its name, including those of `others`, and makes the channel to
    /// that process.
    ///
    /// # Errors
    /// This process has no free descriptors, or a name is too long.
    pub fn pass(&self, others: &[Arc<Sockets>]) -> anyhow::Result<(Successor, Vec<(String, OwnedFd)>)> {
        // systemd's sockets come first, so that they keep their numbers.
        let mut passed = self.activation().copies()?;
        passed.extend(self.named()?);
        for other in others {
            passed.extend(other.named()?);
        }
        let successor = handover::channel(&mut passed)?;
        Ok((successor, passed))
    }

    /// Copies the sockets that this process bound itself, each with the name under which it can be taken over.
    ///
    /// # Errors
    /// This process has no free descriptors, or a name is too long.
    pub fn named(&self) -> anyhow::Result<Vec<(String, OwnedFd)>> {
        let listeners = self.listeners();
        let bound = listeners.iter().filter(|listener| !matches!(listener.endpoint(), Endpoint::Fd(_)));
        bound
            .map(|listener| Ok((fd_name::of(listener.endpoint())?, listener.as_fd().try_clone_to_owned()?)))
            .collect()
    }

    fn activation(&self) -> MutexGuard<'_, Activation> {
        self.activation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn registry(&self) -> MutexGuard<'_, ListenerRegistry> {
        // The lists are consistent after every statement, so a poisoned lock guards nothing broken.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ListenerRegistry {
    /// Drops listeners, and returns the signals of their connections.
    fn let_go(&mut self, bound: Vec<BoundListener>) -> Vec<watch::Sender<Phase>> {
        let let_go = |BoundListener { listener, phase, .. }: BoundListener| {
            self.waiting.retain(|handout| !Arc::ptr_eq(&handout.listener, &listener));
            phase
        };
        bound.into_iter().map(let_go).collect()
    }
}

fn advance(signal: &watch::Sender<Phase>, to: Phase) {
    signal.send_if_modified(|phase| *phase < to && std::mem::replace(phase, to) != to);
}

impl DrainSignal {
    /// Waits until each response is the last of its connection.
    ///
    /// # Cancel safety
    /// A dropped wait loses nothing, as with the other waits.
    pub async fn begun(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Reports whether each response is the last of its connection. Never blocks.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow() >= Phase::Draining
    }

    /// Waits until no more connections are accepted.
    pub async fn closed(&self) {
        self.reached(Phase::Closed).await;
    }

    /// Waits until upgraded connections should end as well.
    pub async fn over(&self) {
        self.reached(Phase::Over).await;
    }

    async fn reached(&self, wanted: Phase) {
        // The wait fails if the sender is dropped; that also means that the listener is over.
        let mut phase = self.0.clone();
        let _reached = phase.wait_for(|phase| *phase >= wanted).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn endpoints(texts: &[&str]) -> Vec<Endpoint> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn sockets(texts: &[&str]) -> Sockets {
        Sockets::bind(&endpoints(texts), BindOptions::default(), Activation::none()).unwrap()
    }

    fn local(handout: &Handout) -> String {
        handout.listener.local().strip_prefix("tcp://").unwrap().to_owned()
    }

    #[tokio::test]
    async fn an_endpoint_that_stays_keeps_its_socket_and_one_that_goes_is_closed() {
        let sockets = sockets(&["tcp://127.0.0.1:0", "tcp://localhost:0"]);
        let stays = sockets.next().await.unwrap();
        let goes = sockets.next().await.unwrap();
        let addr = local(&goes);

        let change = sockets.prepare(&endpoints(&["tcp://127.0.0.1:0", "tcp://127.0.0.2:0"])).unwrap();
        sockets.apply(change);

        goes.leaving.over().await;
        drop(goes);
        assert!(TcpStream::connect(addr).is_err());
        assert!(TcpStream::connect(local(&stays)).is_ok());
        let kept = sockets.listeners();
        assert!(Arc::ptr_eq(&kept[0], &stays.listener));
        let added = async { sockets.next().await.filter(|handout| local(handout).starts_with("127.0.0.2:")) };
        assert!(added.await.is_some());
    }

    #[tokio::test]
    async fn a_change_that_cannot_be_bound_or_is_dropped_changes_nothing() {
        let sockets = sockets(&["tcp://127.0.0.1:0"]);
        let first = sockets.next().await.unwrap();
        let taken = first.listener.local().to_owned();

        assert!(sockets.prepare(&endpoints(&["tcp://127.0.0.2:0", &taken])).is_err());
        drop(sockets.prepare(&endpoints(&["tcp://127.0.0.2:0"])).unwrap());

        assert_eq!(sockets.listeners().len(), 1);
        assert!(TcpStream::connect(local(&first)).is_ok());
    }

    #[tokio::test]
    async fn the_end_of_a_listener_is_told_in_phases_and_to_its_connections_behind_the_socket() {
        let sockets = sockets(&["tcp://127.0.0.1:0"]);
        let Handout { listener, leaving } = sockets.next().await.unwrap();
        let addr = listener.local().strip_prefix("tcp://").unwrap().to_owned();
        let phase = || *leaving.0.borrow();

        sockets.end(Phase::Draining);
        leaving.begun().await;
        assert!(phase() == Phase::Draining && TcpStream::connect(&addr).is_ok());

        sockets.end(Phase::Closed);
        leaving.closed().await;
        drop(listener);
        assert!(phase() == Phase::Closed && TcpStream::connect(&addr).is_err());

        sockets.end(Phase::Draining);
        assert_eq!(phase(), Phase::Closed);
        sockets.end(Phase::Over);
        leaving.over().await;
    }

    #[tokio::test]
    async fn what_is_closed_hands_out_no_more_and_takes_no_more() {
        let sockets = sockets(&["tcp://127.0.0.1:0"]);
        let change = sockets.prepare(&endpoints(&["tcp://127.0.0.2:0"])).unwrap();
        let addr = sockets.listeners()[0].local().to_owned();

        sockets.end(Phase::Over);
        sockets.apply(change);

        assert!(sockets.next().await.is_none());
        assert!(sockets.listeners().is_empty());
        assert!(TcpStream::connect(addr.strip_prefix("tcp://").unwrap()).is_err());
    }
}
