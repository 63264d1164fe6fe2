//! The first step of a start: reads the configuration before the process restricts itself or binds a socket.

use std::sync::Arc;

use anyhow::Result;

use super::signals::Signals;
use crate::config::Config;
use crate::confine;
use crate::jobs::{ConfigReading, ConfigSource};

/// A daemon that has read its configuration and has done nothing else yet.
pub struct EarlyDaemon {
    /// The configuration.
    pub config: Config,
    /// Listens from here on, so that no signal is missed.
    pub(super) signals: Signals,
}

/// Reads the configuration. Returns `None` if a signal to end came first.
///
/// Leaves no other thread running: a restriction does not reach threads that exist already.
///
/// # Errors
/// The configuration cannot be read or is invalid.
pub fn begin(source: &ConfigSource) -> Result<Option<EarlyDaemon>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let source = Arc::clone(source);
    let begun = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        // Unblocks the signals, so that pending ones arrive too. The mask belongs to a thread; there is no other thread
        // yet.
        confine::let_through();
        // On a thread of its own: reading a file may block for long, as on a network file system.
        let reading = tokio::task::spawn_blocking(move || source(ConfigReading::Start));
        let config = tokio::select! {
            config = reading => Some(config??),
            _ = signals.end() => None,
        };
        Ok(config.map(|config| EarlyDaemon { config, signals }))
    });
    runtime.shutdown_background();
    begun
}
