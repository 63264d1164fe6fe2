//! What the daemon stands on besides its catalog: the sockets, the server and the configuration in force.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::Config;
use crate::http::{Deadlines, Server, Settings};
use crate::net::Sockets;

/// What the jobs that change the daemon share; only who has the turn of [`Generations`](super::Generations) changes it.
pub struct Standing {
    /// What the daemon does now, flags applied.
    pub config: ArcSwap<Config>,
    /// Every listener.
    pub sockets: Arc<Sockets>,
    /// What answers their connections.
    pub server: Arc<Server>,
}

impl Standing {
    /// Puts a configuration into force, as far as it is not in the catalog. Connections that are open
    /// keep what they were accepted with.
    pub(super) fn adopt(&self, config: Config) {
        self.server.settings.store(Arc::new(settings(&config)));
        self.config.store(Arc::new(config));
    }
}

/// Takes the bounds of connections out of a configuration.
pub fn settings(config: &Config) -> Settings {
    let http = &config.http;
    Settings {
        deadlines: Deadlines {
            first_byte: http.first_byte,
            head: http.head,
            keep_alive: http.keep_alive,
            write_idle: http.write_idle,
        },
        body_idle: http.body_idle,
        head_size: http.head_size,
        target_size: http.target_size,
        fields: http.fields,
        access_log: config.access_log,
    }
}
