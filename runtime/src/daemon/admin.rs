//! The admin socket: bound first and let go of last, so that the daemon can be asked all its life.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::Config;
use crate::engine::{Engine, Failure};
use crate::http::{Activity, Crowd, Places, Purpose, Server};
use crate::job::Tenure;
use crate::jobs::ServeApi;
use crate::net::{Activation, BindOptions, Endpoint, Gate, Phase, Sockets};

/// How long the last answers may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The admin socket while it is served. Dropping it closes it at once.
pub(super) struct Admin {
    sockets: Arc<Sockets>,
    /// Open from the start: an operator may ask before clients may.
    gate: Gate,
    /// None: the configuration names no admin socket.
    serving: Option<JoinHandle<Result<(), Failure>>>,
}

/// Binds the admin socket, if there is to be one, or takes it over from the process before this one.
///
/// # Errors
/// It cannot be bound.
pub(super) fn bind(config: &Config, passed: &mut Activation) -> Result<Sockets> {
    let (endpoints, options) = wanted(config);
    Sockets::bind(&endpoints, options, passed.part(&endpoints)).context("admin")
}

/// Says where the admin socket is to be, and how.
pub(super) fn wanted(config: &Config) -> (Vec<Endpoint>, BindOptions) {
    let options = BindOptions {
        unix_group: config.admin_access.group.clone(),
        unix_mode: config.admin_access.mode,
        ..BindOptions::default()
    };
    (config.admin.iter().cloned().map(Endpoint::Unix).collect(), options)
}

/// Makes the job `serveadmin`. `asked` is the server that operators ask about.
pub(super) fn job(engine: &Arc<Engine>, admin: &Admin, asked: &Server) -> ServeApi {
    let server = Server {
        engine: engine.clone(),
        gate: admin.gate.clone(),
        settings: asked.settings.clone(),
        // Operators, and what watches the daemon: apart from clients, so that no load keeps an operator out.
        // All over a Unix socket, which has no addresses.
        connections: Crowd::new(Places::CONNECTIONS, Places::CONNECTIONS),
        activity: Activity::default(),
        handshakes: asked.handshakes.clone(),
        refused: asked.refused.clone(),
        purpose: Purpose::Admin {
            gate: asked.gate.clone(),
            clients: asked.connections.clone(),
            places: Places::default(),
        },
    };
    ServeApi::new(admin.sockets.clone(), Arc::new(server), Tenure::Attendance)
}

impl Admin {
    pub(super) fn new(sockets: Sockets) -> Admin {
        let gate = Gate::shut();
        gate.open();
        Admin { sockets: Arc::new(sockets), gate, serving: None }
    }

    /// Starts serving, if there is a socket; the job is registered by now.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn serve(&mut self, engine: &Arc<Engine>) -> Result<()> {
        if self.address().is_some() {
            self.serving = Some(engine.spawn(engine.job("serveadmin")?));
        }
        Ok(())
    }

    pub(super) fn sockets(&self) -> Arc<Sockets> {
        self.sockets.clone()
    }

    /// Returns the address, if there is one.
    pub(super) fn address(&self) -> Option<String> {
        self.sockets.listeners().first().map(|listener| listener.local().to_owned())
    }

    /// Lets the answers under way reach whoever asked, the one to `shutdown` among them.
    pub(super) async fn end(mut self) {
        self.gate.drain();
        self.sockets.end(Phase::Over);
        if let Some(mut serving) = self.serving.take()
            && timeout(LAST_WORDS, &mut serving).await.is_err()
        {
            serving.abort();
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.sockets.end(Phase::Over);
    }
}
