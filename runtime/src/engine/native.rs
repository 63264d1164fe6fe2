//! The trait of built-in jobs, which are given the engine that runs them.

use std::future::ready;
use std::sync::{Arc, Weak};

use super::{Engine, RegisterError};
use crate::job::{Fault, Handler, HandlerVersion, Job, Name, Policy, Run};

/// A built-in job.
///
/// It is given the engine and does not keep one: the engine holds all that is registered with it.
pub trait NativeJob: Send + Sync + 'static {
    /// Starts the job; nothing happens before the first poll. See [`Handler::run`].
    fn run(self: Arc<Self>, engine: Arc<Engine>, job: Job) -> Run;
}

impl Engine {
    /// Registers a built-in job.
    ///
    /// # Errors
    /// The name is malformed or taken.
    pub fn register(
        self: &Arc<Self>,
        name: &str,
        policy: Policy,
        job: Arc<dyn NativeJob>,
    ) -> Result<(), RegisterError> {
        let name: Name = name.parse().map_err(RegisterError::Name)?;
        let handler = Arc::new(Native { engine: Arc::downgrade(self), job });
        self.registry().add(HandlerVersion { policy, ..HandlerVersion::native(name, handler) })
    }
}

/// A native job with its engine.
struct Native {
    engine: Weak<Engine>,
    job: Arc<dyn NativeJob>,
}

impl Handler for Native {
    fn run(self: Arc<Self>, job: Box<Job>) -> Run {
        match self.engine.upgrade() {
            Some(engine) => self.job.clone().run(engine, *job),
            None => Box::pin(ready(Err(Fault::Draining))),
        }
    }
}

/// A job for the tests of other files.
#[cfg(test)]
pub(crate) mod idle {
    use super::*;
    use crate::job::Status;

    /// Ends at once, and well.
    struct Idle;

    impl NativeJob for Idle {
        fn run(self: Arc<Self>, _engine: Arc<Engine>, _job: Job) -> Run {
            Box::pin(ready(Ok(Status::OK)))
        }
    }

    /// Makes an engine whose only job is `idle`.
    pub(crate) fn engine() -> Arc<Engine> {
        let engine = Engine::new(1);
        engine.register("idle", Policy::WORK, Arc::new(Idle)).unwrap();
        engine
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::poll;
    use tokio::sync::Notify;

    use super::*;

    /// Listens once it is told to.
    #[derive(Default)]
    struct LateListener(Notify);

    impl NativeJob for LateListener {
        fn run(self: Arc<Self>, _engine: Arc<Engine>, job: Job) -> Run {
            Box::pin(async move {
                self.0.notified().await;
                job.usage.listen();
                pending().await
            })
        }
    }

    #[tokio::test]
    async fn a_listener_is_listed_once_it_listens() {
        let (engine, listener) = (Engine::new(1), Arc::new(LateListener::default()));
        engine.register("listener", Policy::LISTEN, listener.clone()).unwrap();
        let mut run = engine.start(Box::new(engine.job("listener").unwrap()));
        assert!(poll!(&mut run).is_pending());
        assert_eq!(engine.snapshots().len(), 0, "it runs, and misses events");

        listener.0.notify_one();

        assert!(poll!(&mut run).is_pending());
        assert_eq!(engine.snapshots().len(), 1);
    }
}
