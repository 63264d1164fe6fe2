//! From a name to its addresses, within bounds.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock};

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Looks up names. A trait, so that a test can be a name server that changes its mind.
pub trait Resolve: Send + Sync + 'static {
    /// Finds the addresses of a name, in the order in which they are to be tried.
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The resolver of this machine: getaddrinfo(3), with all that nsswitch.conf(5) says.
pub struct System;

/// Names looked up at once, over the whole daemon. A look-up cannot be cancelled and holds a thread,
/// and the same threads open the files of handlers: a name server that is silent must not take all.
const LOOKUPS: usize = 16;

static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(LOOKUPS)));

impl Resolve for System {
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let name = name.to_owned();
        Box::pin(async move {
            let place = PLACES.clone().acquire_owned().await.map_err(io::Error::other)?;
            let lookup = spawn_blocking(move || {
                let found = (name.as_str(), 0).to_socket_addrs();
                // Held until the thread is free, whether or not anybody waits for it still.
                drop(place);
                found.map(|found| found.map(|address| address.ip()).collect())
            });
            lookup.await.map_err(io::Error::other)?
        })
    }
}
