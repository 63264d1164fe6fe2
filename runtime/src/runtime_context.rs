//! Polls a future in the context of another tokio runtime.

use std::future::poll_fn;
use std::pin::Pin;

use tokio::runtime::Handle;

/// Polls `work` with `runtime` as the current runtime. `None` keeps the current one.
///
/// A job with mounts is polled within the runtime of its file threads. These threads may open nothing but the mounts, and
/// end when the handler is idle. No connection may depend on them, so work on connections is polled in the daemon's
/// runtime.
///
/// # Cancel safety
/// The same as of the work. It is dropped in the runtime that is current then.
pub fn polled_in<T>(
    runtime: Option<&Handle>,
    mut work: impl Future<Output = T> + Unpin,
) -> impl Future<Output = T> {
    poll_fn(move |context| {
        let _here = runtime.map(Handle::enter);
        Pin::new(&mut work).poll(context)
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

        let found = elsewhere.block_on(polled_in(Some(home.handle()), Box::pin(work)));

        assert_eq!(found.as_deref(), Some("home"));
    }
}
