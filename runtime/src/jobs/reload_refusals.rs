//! Why a reload refuses a configuration that is valid in itself.

use std::path::Path;

use anyhow::{Error, Result, anyhow};

use super::daemon_state::{DaemonState, traces};
use super::load::Loader;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::confine::{PathGrant, Untrusted, places_beyond};

/// Lists what this process, or the next one of an upgrade beside it, cannot use safely: paths out of reach, and paths
/// that a handler could replace meanwhile. `file` is the configuration file, which must not be replaceable either.
/// `untrusted` holds the directories that handlers may write to.
///
/// The directories that handlers may write to under the old configuration count as well: their jobs go on while the new
/// one is loaded, and for a while after.
pub(super) fn denied(
    granted: Option<&[PathGrant]>,
    config: &Config,
    file: &Path,
    untrusted: Result<Untrusted>,
) -> Vec<Error> {
    let untrusted = match untrusted {
        Ok(untrusted) => untrusted,
        Err(failure) => return vec![failure],
    };
    let mut denied = Vec::new();
    if let Some(granted) = granted {
        let mut needed = config.places();
        // What a handler has put in the place of a mount is not used, so it need not be in reach. The directories of
        // `hardening.reach` are held since the start.
        needed.retain(|(key, place)| match key.as_str() {
            "hardening.reach" => !matches!(untrusted.find(&place.path), Ok(Some(_))),
            _ => !untrusted.is_displaced(&place.path),
        });
        // The start makes the directories of files that the daemon keeps. What is missing it could not make.
        let (there, missing): (Vec<_>, Vec<_>) =
            needed.into_iter().partition(|(_, place)| place.path.symlink_metadata().is_ok());
        let beyond = places_beyond(granted, &there);
        if !beyond.is_empty() {
            denied.push(anyhow!(
                "needs restart: {}: out of reach since the start (hardening.files): name its directory in hardening.reach",
                beyond.join(", ")
            ));
        }
        let missing = places_beyond(granted, &missing);
        if !missing.is_empty() {
            denied.push(anyhow!(
                "needs restart: {}: not there, and out of reach (hardening.files): make the directory, and start again",
                missing.join(", ")
            ));
        }
    }
    let exchangeable = config.exchangeable_in(file, &untrusted);
    denied.extend(exchangeable.iter().map(|error| match error.key.as_str() {
        "" => anyhow!("{}", error.message),
        key => anyhow!("{key}: {}", error.message),
    }));
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
    refusals.extend(traces(config).err());
    refusals.extend(denied(granted, config, file, loader.untrusted_and_held(&config.handlers)));
    refusals
}
