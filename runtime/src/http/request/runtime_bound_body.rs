//! A response body that stays within the runtime of the daemon, whatever reads it.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use tokio::runtime::Handle;

/// A body that is polled and dropped within the runtime in which it was made. A job with mounts is polled within a runtime
/// of its own. What a body spawned there would end with that runtime, and what it reads would be charged to the job.
pub(in crate::http) struct RuntimeBoundBody<B> {
    /// `None` only during the drop.
    body: Option<B>,
    runtime: Handle,
}

impl<B> RuntimeBoundBody<B> {
    /// Binds a body to the current runtime.
    pub(in crate::http) fn here(body: B) -> RuntimeBoundBody<B> {
        RuntimeBoundBody { body: Some(body), runtime: Handle::current() }
    }
}

impl<B: Body + Unpin> Body for RuntimeBoundBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let RuntimeBoundBody { body, runtime } = &mut *self;
        let _within = runtime.enter();
        body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl<B> Drop for RuntimeBoundBody<B> {
    fn drop(&mut self) {
        let _within = self.runtime.enter();
        self.body = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::runtime::Builder;

    use super::*;

    /// Notes whether it is dropped within a runtime.
    struct DropProbe(Arc<AtomicBool>);

    impl Drop for DropProbe {
        fn drop(&mut self) {
            self.0.store(Handle::try_current().is_ok(), Ordering::Relaxed);
        }
    }

    #[test]
    fn a_body_is_dropped_within_its_runtime() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let is_within = Arc::new(AtomicBool::new(false));
        let bound = {
            let _within = runtime.enter();
            RuntimeBoundBody::here(DropProbe(is_within.clone()))
        };

        // Outside of any runtime.
        drop(bound);

        assert!(is_within.load(Ordering::Relaxed));
    }
}
