//! `serveapi`: serves every listener, from the opening of the gate until the daemon has drained.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;
use tracing::info;

use crate::http::Server;
use crate::job::{Fault, Handler, Job, Run, Status};
use crate::net::Listener;

/// Serves these listeners, once.
pub struct ServeApi {
    /// Bound and listening; taken by the first run.
    pub listeners: Mutex<Vec<Listener>>,
    /// What answers their connections.
    pub server: Arc<Server>,
}

impl Handler for ServeApi {
    fn run(self: Arc<Self>, job: Job) -> Run {
        Box::pin(async move {
            let listeners =
                std::mem::take(&mut *self.listeners.lock().unwrap_or_else(PoisonError::into_inner));
            if listeners.is_empty() {
                let usage = "usage: serveapi PROTO://ADDR [PROTO://ADDR ...]\n";
                job.stderr.write_all(usage).await.map_err(|_| Fault::ReaderGone)?;
                return Ok(Status::ERROR);
            }
            let mut serving = JoinSet::new();
            for listener in listeners {
                info!("listening on {}", listener.local());
                serving.spawn(self.server.clone().run(listener));
            }
            while let Some(ended) = serving.join_next().await {
                ended.map_err(|failure| Fault::Host(anyhow::anyhow!("an accept loop failed: {failure}")))?;
            }
            Ok(Status::OK)
        })
    }
}
