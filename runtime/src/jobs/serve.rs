//! `serveapi`, `serveadmin` and `serveobserve`: accept connections on listeners until their gate drains.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;
use tracing::info;

use crate::engine::{Engine, NativeJob};
use crate::http::AcceptLoop;
use crate::job::{Fault, Job, Run, Status};
use crate::net::Sockets;

/// Serves its listeners, and those that a reload adds. Runs once.
pub struct ServeApi {
    sockets: Arc<Sockets>,
    accept_loop: Arc<dyn AcceptLoop>,
    serving: AtomicBool,
}

impl ServeApi {
    /// Makes the job. It serves when it is run.
    pub fn new(sockets: Arc<Sockets>, accept_loop: Arc<dyn AcceptLoop>) -> ServeApi {
        ServeApi { sockets, accept_loop, serving: AtomicBool::new(false) }
    }
}

impl NativeJob for ServeApi {
    fn run(self: Arc<Self>, _engine: Arc<Engine>, job: Job) -> Run {
        Box::pin(async move {
            if self.serving.swap(true, Ordering::Relaxed) {
                job.stderr.write_all("serving already\n").await.map_err(|_| Fault::ReaderGone)?;
                return Ok(Status::ERROR);
            }
            let ServeApi { sockets, accept_loop, .. } = &*self;
            let mut listeners = JoinSet::new();
            let mut more = true;
            while more || !listeners.is_empty() {
                tokio::select! {
                    handout = sockets.next(), if more => match handout {
                        Some(handout) => {
                            info!("listening on {}", handout.listener.local());
                            listeners.spawn(accept_loop.clone().run(handout));
                        }
                        None => more = false,
                    },
                    Some(ended) = listeners.join_next() => {
                        ended.map_err(|failure| Fault::Host(anyhow::anyhow!("an accept loop failed: {failure}")))?;
                    }
                }
            }
            Ok(Status::OK)
        })
    }
}
