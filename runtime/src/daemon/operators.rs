//! The admin socket, and the addresses of `observe` that only show the state of the daemon.
//!
//! They are bound before the other sockets and closed after them, so the daemon can be asked during all of its life.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::Config;
use crate::engine::{DaemonJobError, Engine};
use crate::http::{self, ADMIN_LAST_RESPONSES, Activity, AdminSlots, ConnectionLimit, Observed, Server};
use crate::job::builtin;
use crate::jobs::ServeApi;
use crate::net::{Activation, BindOptions, Endpoint, Gate, Phase, Sockets};
use crate::observe::Reloads;
use crate::wasm::Allocation;
use crate::wasm::cache::Figures;

/// The maximum number of connections to all addresses of `observe`; half of them may come from one address.
const OBSERVERS: usize = 32;

/// The admin socket and the sockets of `observe`.
pub(super) struct Operators {
    admin: ServedSockets,
    observe: ServedSockets,
}

/// The sockets that one job serves. Dropping it closes them at once.
struct ServedSockets {
    /// The name of the job.
    job: &'static str,
    sockets: Arc<Sockets>,
    /// Open from the start: operators may ask before clients are served.
    gate: Gate,
    /// `None` before [`Operators::serve`], and if the configuration names no address.
    serving: Option<JoinHandle<Result<(), DaemonJobError>>>,
}

/// Returns the path of the admin socket, and how to bind it.
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
    /// A socket cannot be bound.
    pub(super) fn bind(config: &Config, passed: &mut Activation) -> Result<Operators> {
        let mut side = |job, key, (endpoints, options): (Vec<Endpoint>, BindOptions)| {
            let sockets = Sockets::bind(&endpoints, options, passed.part(&endpoints)).context(key)?;
            let gate = Gate::shut();
            gate.open();
            anyhow::Ok(ServedSockets { job, sockets: Arc::new(sockets), gate, serving: None })
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

    /// Makes the jobs that serve, with their names. `asked` is the server of the clients, about which operators ask.
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
        let server = |side: &ServedSockets, connections, per_ip| {
            Arc::new(Server {
                engine: engine.clone(),
                gate: side.gate.clone(),
                settings: asked.settings.clone(),
                // Limits of their own, so that no load of clients keeps an operator out, and observers do not keep out
                // the admin.
                connections: ConnectionLimit::new(connections, per_ip, usize::MAX),
                activity: Activity::default(),
                handshakes: asked.handshakes.clone(),
                refused: asked.refused.clone(),
                direct: asked.direct.clone(),
                scratch: None,
            })
        };
        // Clients of a Unix socket have no address. Their users are counted.
        let admin = server(&self.admin, AdminSlots::CONNECTIONS, AdminSlots::OF_OTHERS);
        let observe = server(&self.observe, OBSERVERS, OBSERVERS / 2);
        let job = |side: &ServedSockets, serve| (side.job, ServeApi::new(side.sockets.clone(), serve));
        [
            job(&self.admin, http::admin(admin, observed())),
            job(&self.observe, http::observe(observe, observed())),
        ]
    }

    /// Starts the jobs that have a socket to serve. The jobs must be registered.
    ///
    /// # Errors
    /// A job is not registered.
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

    /// Closes the sockets after the responses in progress were sent, such as the one to `shutdown`.
    pub(super) async fn end(self) {
        tokio::join!(self.admin.end(), self.observe.end());
    }
}

impl ServedSockets {
    fn addresses(&self) -> Vec<String> {
        self.sockets.listeners().iter().map(|listener| listener.local().to_owned()).collect()
    }

    async fn end(mut self) {
        self.gate.drain();
        self.sockets.end(Phase::Over);
        if let Some(mut serving) = self.serving.take()
            && timeout(ADMIN_LAST_RESPONSES, &mut serving).await.is_err()
        {
            serving.abort();
        }
    }
}

impl Drop for ServedSockets {
    fn drop(&mut self) {
        self.sockets.end(Phase::Over);
    }
}

/// Returns how to bind the sockets of clients.
pub(super) fn client_options(config: &Config) -> BindOptions {
    BindOptions {
        unix_group: config.unix.group.clone(),
        unix_mode: config.unix.mode,
        ..BindOptions::default()
    }
}
