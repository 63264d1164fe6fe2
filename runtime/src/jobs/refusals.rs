//! Why a reload refuses a configuration that is valid in itself.

use std::path::Path;

use anyhow::{Error, anyhow};

use super::daemon_state::DaemonState;
use super::load::Loader;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::confine::{PathGrant, places_beyond};

/// Lists what this process, or the next one of an upgrade beside it, cannot use safely: paths out of reach, and paths
/// that a handler could replace meanwhile. `file` is the configuration file, which must not be replaceable either.
///
/// The directories that handlers may write to under the old configuration count as well: their jobs go on while the new
/// one is loaded, and for a while after.
pub(super) fn denied(
    granted: Option<&[PathGrant]>,
    config: &Config,
    file: &Path,
    loader: &Loader,
) -> Vec<Error> {
    let mut denied = Vec::new();
    let beyond = granted.map(|granted| places_beyond(granted, &config.places())).unwrap_or_default();
    if !beyond.is_empty() {
        denied.push(anyhow!(
            "needs restart: {}: out of reach since the start (hardening.files): name its directory in hardening.reach",
            beyond.join(", ")
        ));
    }
    match loader.untrusted(&config.handlers) {
        Ok(untrusted) => {
            let exchangeable = config.exchangeable_in(file, &untrusted);
            denied.extend(exchangeable.iter().map(|error| match error.key.as_str() {
                "" => anyhow!("{}", error.message),
                key => anyhow!("{key}: {}", error.message),
            }));
        }
        Err(failure) => denied.push(failure),
    }
    denied
}

/// Lists all reasons why the daemon cannot change from `base` to another configuration. Only opens directories.
pub(super) fn refusals(
    state: &DaemonState,
    granted: Option<&[PathGrant]>,
    (config, file): (&Config, &Path),
    base: &Catalog,
    loader: &Loader,
) -> Vec<Error> {
    let mut refusals = Vec::new();
    let fixed = state.config.load().needs_restart(config);
    if !fixed.is_empty() {
        refusals.push(anyhow!("needs restart: {}: a running daemon cannot change this", fixed.join(", ")));
    }
    if config.routes.is_empty() && !base.routes.is_empty() {
        refusals.push(anyhow!(
            "it has no [[route]], and the daemon serves some: a truncated file looks like this; \
             to serve none, restart"
        ));
    }
    refusals.extend(state.descriptors(config).err());
    refusals.extend(denied(granted, config, file, loader));
    refusals
}
