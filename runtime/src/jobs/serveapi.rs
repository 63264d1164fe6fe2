//! `serveapi` and `serveadmin`: serve listeners, from the opening of their gate until it drains.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;
use tracing::info;

use crate::http::Server;
use crate::job::{Fault, Handler, Job, Run, Status, Tenure};
use crate::net::Sockets;

/// Serves the listeners that there are and those that a reload adds, once.
pub struct ServeApi {
    sockets: Arc<Sockets>,
    server: Arc<Server>,
    /// Whether a shutdown waits for the last connection.
    tenure: Tenure,
    serving: AtomicBool,
}

impl ServeApi {
    /// Makes the job; it serves when it is run.
    pub fn new(sockets: Arc<Sockets>, server: Arc<Server>, tenure: Tenure) -> ServeApi {
        ServeApi { sockets, server, tenure, serving: AtomicBool::new(false) }
    }
}

impl Handler for ServeApi {
    fn run(self: Arc<Self>, job: Job) -> Run {
        Box::pin(async move {
            if self.serving.swap(true, Ordering::Relaxed) {
                job.stderr.write_all("serving already\n").await.map_err(|_| Fault::ReaderGone)?;
                return Ok(Status::ERROR);
            }
            let ServeApi { sockets, server, .. } = &*self;
            let mut listeners = JoinSet::new();
            let mut more = true;
            while more || !listeners.is_empty() {
                tokio::select! {
                    post = sockets.next(), if more => match post {
                        Some(post) => {
                            info!("listening on {}", post.listener.local());
                            listeners.spawn(server.clone().run(post));
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

    fn is_of_the_daemon(&self) -> bool {
        true
    }

    fn tenure(&self) -> Tenure {
        self.tenure
    }
}
