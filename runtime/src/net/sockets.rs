//! The sockets the daemon listens on, and how they change while it serves.

use super::bind::{BindOptions, bind};
use super::endpoint::Endpoint;
use super::handover::{self, Predecessor, Successor};
use super::listener::{Listener, is_exposed};
use super::socket_file::SocketFile;
use super::systemd::Activation;
use super::tls::Tls;
use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// Every listener there is. It hands each of them out once, to whoever accepts from it.
#[derive(Debug)]
pub struct Sockets {
    options: BindOptions,
    activation: Mutex<Activation>,
    held: Mutex<Held>,
    posted: Notify,
    predecessor: Mutex<Option<Predecessor>>,
    /// What was passed and is not wanted any more.
    left: Mutex<Vec<String>>,
}

/// A listener to accept from until its connections are to leave.
#[derive(Debug)]
pub struct Post {
    /// Dropping it closes the socket, once [`Sockets`] has let go of it as well.
    pub listener: Arc<Listener>,
    /// When to stop.
    pub leaving: Leaving,
}

/// Tells that no more is accepted from a listener, and that its connections should end. Clones are the same signal.
#[derive(Debug, Clone)]
pub struct Leaving(watch::Receiver<Option<Leave>>);

/// How connections leave once the requests under way are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Those that wait for a request end now.
    AtOnce,
    /// Those that wait for a request may send it shortly: somebody else serves on, so nothing presses.
    Gently,
}

/// What a configuration wants listened on, bound and not yet served. Dropping it unbinds what is new.
#[derive(Debug)]
pub struct Change {
    wanted: Vec<Endpoint>,
    added: Vec<Listener>,
}

#[derive(Debug, Default)]
struct Held {
    berths: Vec<Berth>,
    /// As long as the list of endpoints at most.
    waiting: VecDeque<Post>,
    closed: bool,
}

#[derive(Debug)]
struct Berth {
    listener: Arc<Listener>,
    leave: watch::Sender<Option<Leave>>,
    /// Whether the log has been told that everybody can read along.
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
            held: Mutex::default(),
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

    /// Binds those of `wanted` that are not bound yet. Blocks on name lookups; only one change may be in the making.
    ///
    /// # Errors
    /// The first endpoint that cannot be bound; then nothing has changed.
    pub fn prepare(&self, wanted: &[Endpoint]) -> anyhow::Result<Change> {
        let known: Vec<Endpoint> =
            self.held().berths.iter().map(|berth| berth.listener.endpoint().clone()).collect();
        let new: Vec<Endpoint> =
            wanted.iter().filter(|endpoint| !known.contains(endpoint)).cloned().collect();
        let added = bind(&new, &self.options, &mut self.activation())?;
        Ok(Change { wanted: wanted.to_vec(), added })
    }

    /// Offers what is new to [`Sockets::next`] and lets what is no longer wanted leave. Never blocks.
    pub fn apply(&self, change: Change) {
        let mut held = self.held();
        if held.closed {
            return;
        }
        let Change { wanted, added } = change;
        let (stay, go) = std::mem::take(&mut held.berths)
            .into_iter()
            .partition(|berth| wanted.contains(berth.listener.endpoint()));
        held.berths = stay;
        for listener in added.into_iter().map(Arc::new) {
            let (leave, leaving) = watch::channel(None);
            held.waiting.push_back(Post { listener: listener.clone(), leaving: Leaving(leaving) });
            held.berths.push(Berth { listener, leave, told: false });
        }
        held.let_go(go, Leave::Gently);
        drop(held);
        self.posted.notify_waiters();
    }

    /// Lets go of every listener, for good. Those that nobody accepts from are closed at once.
    pub fn close(&self, leave: Leave) {
        let mut held = self.held();
        held.closed = true;
        let all = std::mem::take(&mut held.berths);
        held.let_go(all, leave);
        drop(held);
        self.posted.notify_waiters();
    }

    /// Returns the next listener that nobody accepts from yet; none once they are closed.
    ///
    /// # Cancel safety
    /// No listener is lost.
    pub async fn next(&self) -> Option<Post> {
        loop {
            // Registered before the look, so that what is posted in between is not missed.
            let posted = self.posted.notified();
            {
                let mut held = self.held();
                match held.waiting.pop_front() {
                    Some(post) => return Some(post),
                    None if held.closed => return None,
                    None => {}
                }
            }
            posted.await;
        }
    }

    /// Warns of each listener that other machines can reach in clear, once for as long as it stays so.
    pub fn warn_of_clear(&self, tls: Option<&Tls>) {
        for berth in &mut self.held().berths {
            let listener = &berth.listener;
            let clear = is_exposed(listener) && !tls.is_some_and(|tls| tls.covers(listener));
            if clear && !berth.told {
                tracing::warn!(
                    listener = listener.local(),
                    "everybody on the way can read and change what is sent here, and anyone can call every handler: \
                     set [tls], or bind 127.0.0.1 or a unix socket"
                );
            }
            berth.told = clear;
        }
    }

    /// Returns every listener there is now.
    pub fn listeners(&self) -> Vec<Arc<Listener>> {
        self.held().berths.iter().map(|berth| berth.listener.clone()).collect()
    }

    /// Returns the process before this one, once; none: nobody passed us anything.
    pub fn predecessor(&self) -> Option<Predecessor> {
        self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Makes everything that was taken over ours, and removes the files of Unix sockets that are not wanted
    /// any more. Returns the names under which systemd may still keep those.
    pub fn own(&self) -> Vec<String> {
        self.listeners().iter().for_each(|listener| listener.own_file());
        let left = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        for path in left.iter().filter_map(|name| handover::path(name)) {
            if let Ok(file) = SocketFile::adopt(&path) {
                file.own();
            }
        }
        left
    }

    /// Leaves the files of Unix sockets where they are, for the next process.
    pub fn leave_files(&self) {
        self.listeners().iter().for_each(|listener| listener.leave_file());
    }

    /// Copies every socket for the next process, with its name, those of `others` as well, and makes the channel
    /// to it.
    ///
    /// # Errors
    /// No descriptors are left, or a name is too long.
    pub fn pass(&self, others: &Sockets) -> anyhow::Result<(Successor, Vec<(String, OwnedFd)>)> {
        // First what systemd passed, so that it keeps its numbers.
        let mut passed = self.activation().copies()?;
        passed.extend(self.named()?);
        passed.extend(others.named()?);
        let successor = handover::channel(&mut passed)?;
        Ok((successor, passed))
    }

    /// Copies the sockets that we bound ourselves, each with the name under which it can be taken over.
    ///
    /// # Errors
    /// No descriptors are left, or a name is too long.
    pub fn named(&self) -> anyhow::Result<Vec<(String, OwnedFd)>> {
        let listeners = self.listeners();
        let bound = listeners.iter().filter(|listener| !matches!(listener.endpoint(), Endpoint::Fd(_)));
        bound
            .map(|listener| {
                Ok((handover::name(listener.endpoint())?, listener.as_fd().try_clone_to_owned()?))
            })
            .collect()
    }

    fn activation(&self) -> MutexGuard<'_, Activation> {
        self.activation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Lists of listeners, whole after every statement.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn let_go(&mut self, berths: Vec<Berth>, leave: Leave) {
        for Berth { listener, leave: signal, .. } in berths {
            self.waiting.retain(|post| !Arc::ptr_eq(&post.listener, &listener));
            signal.send_replace(Some(leave));
        }
    }
}

impl Leaving {
    /// Waits until the connections should leave, and says how.
    ///
    /// # Cancel safety
    /// A dropped wait loses nothing.
    pub async fn begun(&self) -> Leave {
        match self.0.clone().wait_for(Option::is_some).await {
            Ok(leave) => leave.unwrap_or(Leave::AtOnce),
            // Whoever could tell is gone.
            Err(_) => Leave::AtOnce,
        }
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

    fn local(post: &Post) -> String {
        post.listener.local().strip_prefix("tcp://").unwrap().to_owned()
    }

    #[tokio::test]
    async fn an_endpoint_that_stays_keeps_its_socket_and_one_that_goes_is_closed() {
        let sockets = sockets(&["tcp://127.0.0.1:0", "tcp://localhost:0"]);
        let stays = sockets.next().await.unwrap();
        let goes = sockets.next().await.unwrap();
        let addr = local(&goes);

        let change = sockets.prepare(&endpoints(&["tcp://127.0.0.1:0", "tcp://127.0.0.2:0"])).unwrap();
        sockets.apply(change);

        assert_eq!(goes.leaving.begun().await, Leave::Gently);
        drop(goes);
        assert!(TcpStream::connect(addr).is_err());
        assert!(TcpStream::connect(local(&stays)).is_ok());
        let kept = sockets.listeners();
        assert!(Arc::ptr_eq(&kept[0], &stays.listener));
        let added = async { sockets.next().await.filter(|post| local(post).starts_with("127.0.0.2:")) };
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
    async fn what_is_closed_hands_out_no_more_and_takes_no_more() {
        let sockets = sockets(&["tcp://127.0.0.1:0"]);
        let change = sockets.prepare(&endpoints(&["tcp://127.0.0.2:0"])).unwrap();
        let addr = sockets.listeners()[0].local().to_owned();

        sockets.close(Leave::AtOnce);
        sockets.apply(change);

        assert!(sockets.next().await.is_none());
        assert!(sockets.listeners().is_empty());
        assert!(TcpStream::connect(addr.strip_prefix("tcp://").unwrap()).is_err());
    }
}
