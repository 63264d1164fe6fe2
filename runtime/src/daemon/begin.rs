//! The first step of a daemon: to read its configuration while it has nothing to lose yet.

use std::sync::Arc;

use anyhow::Result;

use super::signals::Signals;
use crate::config::Config;
use crate::confine;
use crate::jobs::ConfigSource;

/// A daemon that has read its configuration, and nothing else.
pub struct EarlyDaemon {
    /// What it read.
    pub config: Config,
    /// Kept, so that no signal is missed from here on.
    pub(super) signals: Signals,
}

/// Reads the configuration; none: a signal to end came first.
///
/// Leaves no thread behind that works: what a thread takes from itself, those that are there already
/// keep.
///
/// # Errors
/// Those of the configuration.
pub fn begin(source: &ConfigSource) -> Result<Option<EarlyDaemon>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let source = Arc::clone(source);
    let begun = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        // What came before that as well. No other thread is there yet, to which they would not get.
        confine::let_through();
        // Apart: reading a file waits for others, who may not answer.
        let reading = tokio::task::spawn_blocking(move || source());
        let config = tokio::select! {
            config = reading => Some(config??),
            _ = signals.end() => None,
        };
        Ok(config.map(|config| EarlyDaemon { config, signals }))
    });
    runtime.shutdown_background();
    begun
}
