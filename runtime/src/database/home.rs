//! Runs the work of jobs in the runtime of the daemon.

use std::future::poll_fn;

use tokio::runtime::Handle;

/// Runs work with `home` as the current runtime. `None` leaves the one that is current.
///
/// A job with mounts is polled within the runtime of its file threads. These may open nothing but the mounts, and end
/// when the handler is idle: no connection may depend on them.
///
/// # Cancel safety
/// That of the work, which is dropped in the runtime that is current then.
pub(super) fn at_home<T>(home: Option<&Handle>, work: impl Future<Output = T>) -> impl Future<Output = T> {
    // Boxed: the futures of statements on a server are large.
    let mut work = Box::pin(work);
    poll_fn(move |context| {
        let _here = home.map(Handle::enter);
        work.as_mut().poll(context)
    })
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn runtime(name: &str) -> Runtime {
        Builder::new_multi_thread().worker_threads(1).thread_name(name).build().unwrap()
    }

    #[test]
    fn what_a_job_starts_while_it_is_polled_elsewhere_runs_at_home() {
        let (home, elsewhere) = (runtime("home"), runtime("elsewhere"));
        let name = || std::thread::current().name().map(str::to_owned);
        let work = async { tokio::spawn(async move { name() }).await.unwrap() };

        let found = elsewhere.block_on(at_home(Some(home.handle()), work));

        assert_eq!(found.as_deref(), Some("home"));
    }
}
