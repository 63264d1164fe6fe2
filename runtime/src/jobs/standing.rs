//! What the daemon stands on besides its catalog: the sockets, the server and the configuration in force.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::config::Config;
use crate::engine::Sighting;
use crate::http::{Deadlines, Server, Settings};
use crate::job::Kind;
use crate::net::{GateState, Sockets};
use crate::observe::systemd;

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
    /// Says in a line where the daemon stands.
    pub fn status(&self) -> String {
        let catalog = self.server.engine.live().pin();
        let (gate, handlers) = (self.server.gate.state(), catalog.handlers.len());
        format!("{gate}: generation {}, {handlers} handlers", catalog.generation)
    }

    /// Tells the service manager that we are alive, and where we stand when that has changed, until it
    /// is dropped. It has to be scheduled as requests are: where they are stuck, it is.
    pub async fn report(self: Arc<Self>) {
        /// How old a status may be.
        const LOOK: Duration = Duration::from_secs(1);
        if !systemd::listens() {
            return;
        }
        let watchdog = systemd::watchdog();
        // sd_watchdog_enabled(3): half of the time is recommended.
        let mut beats = interval(watchdog.map_or(LOOK, |time| (time / 2).min(LOOK)));
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = String::new();
        loop {
            beats.tick().await;
            if watchdog.is_some() {
                systemd::alive();
            }
            let status = self.status();
            if status != told && self.server.gate.state() == GateState::Open {
                systemd::status(&status);
                told = status;
            }
        }
    }

    /// Waits until nobody has been connected, and no handler has run, for as long as is configured.
    pub async fn idle(&self) {
        /// How soon a change of the configuration is seen.
        const LOOK: Duration = Duration::from_secs(1);
        loop {
            let Some(time) = self.config.load().idle_exit else {
                sleep(LOOK).await;
                continue;
            };
            self.server.activity.ceased(time).await;
            let works = |sighting: &Sighting| sighting.entry.kind != Kind::Native;
            let unchanged = self.config.load().idle_exit == Some(time);
            if unchanged && !self.server.engine.sightings().iter().any(works) {
                return;
            }
            sleep(LOOK).await;
        }
    }

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
