//! Name lookups, with a bound on how many run at once.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock};

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::budget::{Budget, Holder};

/// Looks up names. A trait, so that a test can change the answers.
pub trait Resolve: Send + Sync + 'static {
    /// Finds the addresses of a name, in the order in which they are to be tried.
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The resolver of this machine: getaddrinfo(3), including nsswitch.conf(5). Each handler has its own resolver with
/// its own queue.
#[derive(Default)]
pub struct System(Lookups);

/// Lookups that run at once in the whole daemon. A lookup cannot be cancelled and holds a thread for as long as a
/// silent name server takes. resolv.conf(5): 5 s for each of two attempts.
const LOOKUPS: usize = 32;

/// Lookups of one handler that run at once.
const OF_ONE: usize = 4;

static ALL: LazyLock<Arc<Budget>> = LazyLock::new(|| Budget::new(LOOKUPS));

/// The lookup permits of one handler, within those of the daemon.
struct Lookups {
    own: Arc<Semaphore>,
    all: Arc<Budget>,
    holder: Arc<Holder>,
}

impl Lookups {
    fn of(all: Arc<Budget>) -> Lookups {
        Lookups { own: Arc::new(Semaphore::new(OF_ONE)), all, holder: Arc::default() }
    }

    /// Runs a lookup in a blocking thread, once a permit is free.
    fn run<T: Send + 'static>(
        &self,
        lookup: impl FnOnce() -> T + Send + 'static,
    ) -> BoxFuture<'static, io::Result<T>> {
        let (own, all, holder) = (self.own.clone(), self.all.clone(), self.holder.clone());
        Box::pin(async move {
            let own = own.acquire_owned().await.map_err(io::Error::other)?;
            let place = all.take(&holder, 1).await;
            let lookup = spawn_blocking(move || {
                let found = lookup();
                // Held until the thread is free, even if the caller no longer waits.
                drop((own, place));
                found
            });
            lookup.await.map_err(io::Error::other)
        })
    }
}

impl Default for Lookups {
    fn default() -> Lookups {
        Lookups::of(ALL.clone())
    }
}

impl Resolve for System {
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let name = name.to_owned();
        let found = self.0.run(move || {
            let found = (name.as_str(), 0).to_socket_addrs()?;
            Ok(found.map(|address| address.ip()).collect())
        });
        Box::pin(async move { found.await? })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn silent_names_of_one_handler_do_not_keep_another_from_asking() {
        let all = Budget::new(LOOKUPS);
        let (silent, other) = (Lookups::of(all.clone()), Lookups::of(all.clone()));
        let held: Vec<_> = (0..2 * LOOKUPS)
            .map(|_| {
                let (answer, asked) = mpsc::channel::<()>();
                (answer, tokio::spawn(silent.run(move || asked.recv())))
            })
            .collect();
        let taken = async {
            while all.used() < OF_ONE {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), taken).await.unwrap();

        let answer = timeout(Duration::from_secs(10), other.run(|| 7)).await;

        assert_eq!(answer.unwrap().unwrap(), 7);
        assert_eq!(all.used(), OF_ONE);
        // The threads end when the senders are dropped.
        drop(held);
    }

    #[tokio::test]
    async fn a_look_up_that_nobody_waits_for_holds_its_place_until_its_end() {
        let all = Budget::new(LOOKUPS);
        let lookups = Lookups::of(all.clone());
        let (answer, asked) = mpsc::channel::<()>();
        let (begun, began) = tokio::sync::oneshot::channel();
        let lookup = tokio::spawn(lookups.run(move || {
            let _told = begun.send(());
            asked.recv()
        }));
        began.await.unwrap();

        lookup.abort();
        let _aborted = lookup.await;

        assert_eq!(all.used(), 1);
        drop(answer);
        let free = async {
            while all.used() > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), free).await.unwrap();
    }
}
