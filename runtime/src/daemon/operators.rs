//! The sockets of operators: the admin socket, and the addresses that only show how the daemon is. They are bound first and
//! let go of last, so that the daemon can be asked all its life.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::Config;
use crate::engine::{DaemonJobError, Engine};
use crate::http::{self, Activity, AdminSlots, ConnectionLimit, Observed, Server};
use crate::job::builtin;
use crate::jobs::ServeApi;
use crate::net::{Activation, BindOptions, Endpoint, Gate, Phase, Sockets};
use crate::observe::Reloads;
use crate::wasm::Allocation;
use crate::wasm::cache::Figures;

/// How long the last answers may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Connections to all addresses of `observe`, half of them at most from one address.
const OBSERVERS: usize = 32;

/// The sockets of operators.
pub(super) struct Operators {
    admin: Side,
    observe: Side,
}

/// Sockets that one job serves beside those of clients. Dropping it closes them at once.
struct Side {
    /// The name of the job.
    job: &'static str,
    sockets: Arc<Sockets>,
    /// Open from the start: an operator may ask before clients may.
    gate: Gate,
    /// `None` until it is served, and where the configuration names no address.
    serving: Option<JoinHandle<Result<(), DaemonJobError>>>,
}

/// Says where the admin socket is to be, and how.
pub(super) fn admin(config: &Config) -> (Vec<Endpoint>, BindOptions) {
    let options = BindOptions {
        unix_group: config.admin_access.group.clone(),
        unix_mode: config.admin_access.mode,
        ..BindOptions::default()
    };
    (config.admin.iter().cloned().map(Endpoint::Unix).collect(), options)
}

impl Operators {
    /// Binds the sockets, or takes them over from the process before this one.
    ///
    /// # Errors
    /// One cannot be bound.
    pub(super) fn bind(config: &Config, passed: &mut Activation) -> Result<Operators> {
        let mut side = |job, key, (endpoints, options): (Vec<Endpoint>, BindOptions)| {
            let sockets = Sockets::bind(&endpoints, options, passed.part(&endpoints)).context(key)?;
            let gate = Gate::shut();
            gate.open();
            anyhow::Ok(Side { job, sockets: Arc::new(sockets), gate, serving: None })
        };
        Ok(Operators {
            admin: side(builtin::SERVE_ADMIN, "admin", admin(config))?,
            observe: side(
                builtin::SERVE_OBSERVE,
                "observe",
                (config.observe.clone(), client_options(config)),
            )?,
        })
    }

    /// Makes the jobs that serve, with their names. `asked` is the server that operators ask about.
    pub(super) fn jobs(
        &self,
        engine: &Arc<Engine>,
        asked: &Server,
        (allocation, reloads, cache): (&Allocation, &Arc<Reloads>, Option<&Arc<Figures>>),
    ) -> [(&'static str, ServeApi); 2] {
        let observed = || Observed {
            gate: asked.gate.clone(),
            clients: asked.connections.clone(),
            allocation: allocation.clone(),
            reloads: reloads.clone(),
            cache: cache.cloned(),
        };
        let server = |side: &Side, connections, per_ip| {
            Arc::new(Server {
                engine: engine.clone(),
                gate: side.gate.clone(),
                settings: asked.settings.clone(),
                // Apart from clients, so that no load keeps an operator out, and of each kind, so that observers do not.
                connections: ConnectionLimit::new(connections, per_ip),
                activity: Activity::default(),
                handshakes: asked.handshakes.clone(),
                refused: asked.refused.clone(),
                scratch: None,
            })
        };
        // All over a Unix socket, which has no addresses.
        let admin = server(&self.admin, AdminSlots::CONNECTIONS, AdminSlots::CONNECTIONS);
        let observe = server(&self.observe, OBSERVERS, OBSERVERS / 2);
        let job = |side: &Side, serve| (side.job, ServeApi::new(side.sockets.clone(), serve));
        [
            job(&self.admin, http::admin(admin, observed())),
            job(&self.observe, http::observe(observe, observed())),
        ]
    }

    /// Starts serving, where there is a socket; the jobs are registered by now.
    ///
    /// # Errors
    /// They are not.
    pub(super) fn serve(&mut self, engine: &Arc<Engine>) -> Result<()> {
        for side in [&mut self.admin, &mut self.observe] {
            if !side.sockets.listeners().is_empty() {
                side.serving = Some(engine.spawn(engine.job(side.job)?));
            }
        }
        Ok(())
    }

    pub(super) fn sockets(&self) -> [Arc<Sockets>; 2] {
        [self.admin.sockets.clone(), self.observe.sockets.clone()]
    }

    /// Returns the address of the admin socket, if there is one.
    pub(super) fn admin(&self) -> Option<String> {
        self.admin.addresses().pop()
    }

    /// Returns the addresses of `observe` as they are bound.
    pub(super) fn observe(&self) -> Vec<String> {
        self.observe.addresses()
    }

    /// Lets the answers under way reach whoever asked, the one to `shutdown` among them.
    pub(super) async fn end(self) {
        tokio::join!(self.admin.end(), self.observe.end());
    }
}

impl Side {
    fn addresses(&self) -> Vec<String> {
        self.sockets.listeners().iter().map(|listener| listener.local().to_owned()).collect()
    }

    async fn end(mut self) {
        self.gate.drain();
        self.sockets.end(Phase::Over);
        if let Some(mut serving) = self.serving.take()
            && timeout(LAST_WORDS, &mut serving).await.is_err()
        {
            serving.abort();
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.sockets.end(Phase::Over);
    }
}

/// Says how the sockets of clients are to be bound.
pub(super) fn client_options(config: &Config) -> BindOptions {
    BindOptions {
        unix_group: config.unix.group.clone(),
        unix_mode: config.unix.mode,
        ..BindOptions::default()
    }
}
